"""What stands against a capture, in the order in which it is asked."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from forensics_core.api.names import EXPECTED_POD_UID_ANNOTATION
from forensics_core.bundle.layout import bundle_name
from forensics_core.operator.decide.checks import NotYet, Refusal, check
from forensics_core.storage.locate import S3Location, parse_location
from tests.unit.operator.samples import NOW, POD_UID, checkpoint, node, pod, settings


def reason(it: Any, its_pod: Any, its_node: Any = None, **more: Any) -> str:
    verdict = check(it, its_pod, its_node or node(), settings(**more))
    return verdict.reason if verdict else ""


def test_nothing_stands_against_a_running_pod() -> None:
    assert check(checkpoint(), pod(), node(), settings()) is None


def test_the_seeds_own_words_for_a_pod_that_is_not_there() -> None:
    assert check(checkpoint(), None, None, settings()) == Refusal(
        "NotFound", "The specified Pod 'web-0' was not found in the 'default' namespace."
    )


def test_a_pod_that_went_after_the_capture_began_is_gone() -> None:
    assert reason(checkpoint("Capturing"), None) == "PodGone"


def test_another_pod_of_the_same_name_is_not_the_one() -> None:
    other = pod(metadata={"uid": "other"})
    assert reason(checkpoint("Capturing"), other) == "PodReplaced"
    assert reason(checkpoint(), other) == ""


@pytest.mark.parametrize(("expected", "said"), [("other", "PodReplaced"), (POD_UID, "")])
@pytest.mark.parametrize("phase", ["", "Capturing"])
def test_a_request_may_name_the_one_pod_that_it_is_for(
    phase: str, expected: str, said: str
) -> None:
    note = {EXPECTED_POD_UID_ANNOTATION: expected}
    named = checkpoint(phase or None, metadata={"annotations": note})
    assert reason(named, pod()) == said


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"destination": "s3://cases"}, ""),
        ({"destination": "s3://cases/"}, ""),
        ({"destination": "s3://cases/2026"}, ""),
        ({"destination": "s3://cases-of-others"}, "DestinationNotAllowed"),
        ({"destination": "s3://other"}, "DestinationNotAllowed"),
        ({}, ""),
    ],
)
def test_the_destination_must_lie_beneath_an_allowed_one(
    spec: dict[str, Any], expected: str
) -> None:
    assert reason(checkpoint(spec=spec), pod()) == expected


@pytest.mark.parametrize(
    "spec",
    [
        {"destination": "s3://cases/../other"},
        {"destination": "s3://cases/a/./b"},
        {"subpath": "../other"},
        {"subpath": "a/.."},
    ],
)
def test_no_folder_that_some_stores_would_take_for_another(spec: dict[str, Any]) -> None:
    assert reason(checkpoint(spec=spec), pod()) == "DestinationNotAllowed"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"destination": "s3://cases/" + "a" * 200, "subpath": "b" * 200}, ""),
        ({"destination": "s3://cases/" + "a" * 300, "subpath": "b" * 200}, "DestinationTooLong"),
        ({"destination": "s3://cases/" + "a" * 250, "pod": "p" * 253}, "DestinationTooLong"),
    ],
)
def test_a_bundle_has_a_path_that_stores_can_hold(spec: dict[str, Any], expected: str) -> None:
    """Found later, it would hold its place on the node until long after its deadline."""
    it = checkpoint(spec=spec)
    assert reason(it, pod()) == expected
    uid, folder = UUID(it.metadata.uid or ""), str(it.spec.destination)
    name = bundle_name(NOW, it.target_namespace, it.spec.pod, uid, 10)
    if not expected:
        assert isinstance(parse_location(f"{folder}/{it.spec.subpath}/{name}/"), S3Location)


def test_without_any_destination_there_is_nowhere_to_go() -> None:
    assert reason(checkpoint(), pod(), defaultDestination=None) == "NoDestination"
    assert settings().destination_of(checkpoint()) == "s3://cases"


@pytest.mark.parametrize(
    "spec",
    [
        {"runtimeClassName": "gvisor"},
        {"runtimeClassName": "Kata-qemu"},
        {"os": {"name": "windows"}},
        {"nodeSelector": {"kubernetes.io/os": "windows"}},
    ],
)
def test_sandboxes_and_windows_are_refused(spec: dict[str, Any]) -> None:
    assert reason(checkpoint(), pod(spec=spec)) == "RuntimeNotSupported"


@pytest.mark.parametrize(
    "its_node",
    [
        node(system="windows"),
        node({"kubernetes.io/os": "windows"}),
        node({"eks.amazonaws.com/compute-type": "fargate"}),
        node({"type": "virtual-kubelet"}),
    ],
)
def test_nodes_without_a_runtime_to_read_are_refused(its_node: dict[str, Any]) -> None:
    assert reason(checkpoint(), pod(), its_node) == "RuntimeNotSupported"


def test_a_node_that_is_gone_is_said_to_be() -> None:
    verdict = check(checkpoint(), pod(), None, settings())
    assert isinstance(verdict, Refusal)
    assert verdict.reason == "NodeGone"


def test_a_container_that_the_pod_does_not_have_is_refused() -> None:
    verdict = check(checkpoint(spec={"containers": ["nope"]}), pod(), node(), settings())
    assert isinstance(verdict, Refusal)
    assert (verdict.reason, "It has: app." in verdict.message) == ("ContainerNotFound", True)


@pytest.mark.parametrize(
    "its_pod", [pod(spec={"nodeName": ""}), pod(status={"containerStatuses": []})]
)
def test_a_pod_that_is_not_up_yet_is_waited_for(its_pod: dict[str, Any]) -> None:
    verdict = check(checkpoint(), its_pod, node(), settings())
    assert isinstance(verdict, NotYet)
    assert verdict.reason == "PodPending"


@pytest.mark.parametrize(
    ("ready", "waits"), [("True", False), ("False", True), ("Unknown", True), (None, False)]
)
def test_a_node_that_is_not_ready_is_waited_for(ready: str | None, waits: bool) -> None:
    its_node = node()
    its_node["status"]["conditions"] = [{"type": "Ready", "status": ready}] if ready else []
    verdict = check(checkpoint(), pod(), its_node, settings())
    if not waits:
        assert verdict is None
        return
    assert isinstance(verdict, NotYet)
    assert (verdict.reason, verdict.capturable) == ("NodeNotReady", True)
