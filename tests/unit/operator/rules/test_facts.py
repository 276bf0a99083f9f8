"""What is kept of a pod, whatever the cluster and its nodes say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forensics_core.kube.objects import moment
from forensics_core.operator.rules.facts import Disruption, facts_of, slim_known
from tests.unit.operator.rules.pods import NOW, at, container, pod, terminated


def test_replicas_of_a_deployment_are_one_workload_whatever_their_template() -> None:
    def replica(template: str) -> str:
        owner = {"kind": "ReplicaSet", "name": f"web-{template}", "controller": True}
        labels = {"pod-template-hash": template}
        return pod(metadata={"ownerReferences": [owner], "labels": labels}).workload

    assert replica("5d8f") == replica("77aa") == "Deployment/web"


def test_other_owners_are_the_workload_and_a_pod_without_one_is_its_own() -> None:
    owners = [{"kind": "Node", "name": "n"}, {"kind": "Job", "name": "j", "controller": True}]
    assert pod(metadata={"ownerReferences": owners}).workload == "Job/j"
    assert pod(metadata={"ownerReferences": owners[:1]}).workload == "Pod/web-0"
    bare = {"kind": "ReplicaSet", "name": "web-1", "controller": True}
    assert pod(metadata={"ownerReferences": [bare]}).workload == "ReplicaSet/web-1"


def test_a_deletion_is_asked_for_before_its_grace_period() -> None:
    grace = {"deletionTimestamp": at(30), "deletionGracePeriodSeconds": 30}
    assert pod(metadata=grace).deleting_at == NOW
    assert pod(metadata={"deletionTimestamp": at(30)}).deleting_at == NOW + 30
    assert pod().deleting_at is None


@pytest.mark.parametrize(
    ("status", "disruption"),
    [
        ({}, None),
        ({"reason": "Evicted"}, Disruption("Evicted", None)),
        (
            {"conditions": [{"type": "DisruptionTarget", "status": "False"}]},
            None,
        ),
        (
            {
                "conditions": [
                    {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "EvictionByEvictionAPI",
                        "lastTransitionTime": at(-3),
                    }
                ]
            },
            Disruption("EvictionByEvictionAPI", NOW - 3),
        ),
        (
            {"conditions": [{"type": "DisruptionTarget", "status": "True"}]},
            Disruption("DisruptionTarget", None),
        ),
    ],
)
def test_why_a_pod_is_taken_away(status: dict[str, Any], disruption: Disruption | None) -> None:
    assert pod(**status).disruption == disruption


def test_an_annotation_without_a_reason_asks_all_the_same() -> None:
    def capture_reason(text: str) -> str:
        return pod(metadata={"annotations": {"forensics.orkaproj.io/capture": text}}).capture_reason

    assert capture_reason("") == "asked for"
    assert capture_reason("odd") == "odd"
    assert len(capture_reason("x" * 5000)) == 512
    assert pod(metadata={"annotations": {"other": "x"}}).capture_reason == ""


def test_a_container_is_found_by_an_id_that_is_cut_short() -> None:
    two = pod("web-0", container("web"), container("log"))
    found = two.container("log4f")
    assert found is not None
    assert found.name == "log"
    assert two.container("") is None
    assert two.container("none") is None


def test_how_a_container_ended_before_counts_once_it_runs_again() -> None:
    (one,) = pod("web-0", container(lastState=terminated("OOMKilled", 137, -9))).containers
    assert one.ended is not None
    assert (one.ended.reason, one.ended.exit_code, one.ended.at) == ("OOMKilled", 137, NOW - 9)


def test_equal_words_of_many_pods_are_in_memory_once() -> None:
    label = {"labels": {"".join(["ap", "p"]): "".join(["we", "b"])}}
    one, other = pod("a", metadata=label), pod("b", metadata=label)
    assert next(iter(one.labels)) is next(iter(other.labels))
    assert one.namespace is other.namespace
    assert one.containers[0].image is other.containers[0].image


def test_of_a_pod_whose_deletion_may_be_missed_little_is_kept() -> None:
    whole = {"metadata": {"name": "a", "namespace": "b", "uid": "c", "labels": {}}, "spec": {}}
    assert slim_known(whole) == {"metadata": {"name": "a", "namespace": "b", "uid": "c"}}


@pytest.mark.parametrize("text", [None, "", "yesterday", 7, "2026-13-01T00:00:00Z"])
def test_what_is_no_time_is_none(text: object) -> None:
    assert moment(text) is None


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@given(reason=st.text(), code=_ANY, when=_ANY, count=_ANY, word=st.text())
def test_whatever_a_node_says_there_are_facts(
    reason: str, code: Any, when: Any, count: Any, word: str
) -> None:
    ended = {"terminated": {"reason": reason, "exitCode": code, "finishedAt": when}}
    facts = facts_of(
        {
            "metadata": {"name": "a", "namespace": "b", "labels": {"x": word}},
            "status": {
                "phase": word,
                "conditions": [word, {"type": word, "lastTransitionTime": when}],
                "containerStatuses": [container(state=ended, restartCount=count)],
            },
        }
    )
    assert facts.ran
    (one,) = facts.containers
    assert one.ended is not None
    assert len(one.ended.reason) <= 128


def test_of_a_node_that_talks_without_end_little_is_kept() -> None:
    long = "x" * 100_000
    one = container(name=long, image=long, containerID=f"containerd://{long}")
    facts = pod("web-0", *[one] * 1000)
    assert len(facts.containers) == 128
    first = facts.containers[0]
    assert (len(first.name), len(first.image), len(first.container_id)) == (253, 512, 253)


def test_a_pod_without_a_status_has_run_nothing() -> None:
    assert not facts_of({"metadata": {"name": "a", "namespace": "b"}}).ran
    assert pod().ran
    assert pod().key == ("shop", "web-0")
