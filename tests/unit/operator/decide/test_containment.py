"""Why a pod cannot be isolated, and what is decided about what an isolation met."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from forensics_core.api.names import ISOLATED_LABEL
from forensics_core.errors import (
    AlreadyExists,
    ApiUnavailable,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
)
from forensics_core.operator.actions import BackOff
from forensics_core.operator.containment.actions import (
    DeletePod,
    GiveUpIsolation,
    Isolate,
    LiftIsolation,
    TellDeletion,
    TellRefusal,
)
from forensics_core.operator.containment.enforcement import NamespaceSurroundings
from forensics_core.operator.containment.policy import build_policy
from forensics_core.operator.decide.containment import (
    after_failure,
    isolate_first,
    obstacle,
    release_first,
)
from forensics_core.operator.observed import Failure, Look, Observed, ObservedPod
from tests.unit.operator.pods import SURROUNDINGS
from tests.unit.operator.samples import NOW, UID, checkpoint, pod, settings

SETTINGS = settings()
MIRROR = {"kubernetes.io/config.mirror": "x", "kubernetes.io/config.source": "file"}
NODE = {"apiVersion": "v1", "kind": "Node", "name": "node1", "uid": "n", "controller": True}
REPLICAS = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "r"}


def observed(seen: Any = None, **spec: Any) -> Observed:
    one = checkpoint("Capturing", spec={"isolate": True, **spec})
    seen = seen if seen is not None else pod(metadata={"resourceVersion": "5"})
    return Observed(one, NOW, pod=ObservedPod(seen), surroundings=SURROUNDINGS)


def spelled(**changes: Any) -> Any:
    """Return a pod with changes, each a whole part of it."""
    return pod(**changes)


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (spelled(spec={"hostNetwork": True}), "the host's network"),
        (spelled(metadata={"uid": "another"}), "replaced"),
        (spelled(metadata={"annotations": MIRROR, "ownerReferences": [NODE]}), "static"),
        (spelled(metadata={"annotations": MIRROR, "ownerReferences": [REPLICAS]}), ""),
        (spelled(metadata={"annotations": MIRROR}), ""),
        (spelled(metadata={"ownerReferences": [NODE]}), ""),
        (spelled(status={"phase": "Succeeded"}), "has ended"),
        (spelled(metadata={"labels": {ISOLATED_LABEL: "abcdef12"}}), ""),
        (spelled(metadata={"labels": {ISOLATED_LABEL: UID[:8]}}), ""),
        (spelled(), ""),
    ],
)
def test_what_no_policy_can_isolate_is_told(seen: Any, why: str) -> None:
    told = obstacle(observed(seen), seen)
    assert (why in told, bool(told)) == (True, bool(why))


def labelled_for_another(around: NamespaceSurroundings) -> Any:
    labels = {ISOLATED_LABEL: "abcdef12", "app": "web"}
    seen = spelled(metadata={"labels": labels, "resourceVersion": "5"})
    return isolate_first(replace(observed(seen), surroundings=around), SETTINGS)


def allowing(name: str, **spec: Any) -> Any:
    return {"metadata": {"name": name}, "spec": spec}


def test_a_pod_that_is_isolated_for_another_checkpoint_is_left_to_that_one() -> None:
    theirs = build_policy(checkpoint("Capturing", metadata={"uid": "abcdef12-x"}), spelled())
    step = labelled_for_another(replace(SURROUNDINGS, policies=(theirs,)))
    assert isinstance(step, GiveUpIsolation)
    assert "begins with abcdef12" in step.message


def test_whether_another_isolation_is_in_force_is_not_risked_where_nobody_knows() -> None:
    unknown = replace(SURROUNDINGS, gaps=("networkpolicies could not be read: away",))
    assert isinstance(labelled_for_another(unknown), GiveUpIsolation)


@pytest.mark.parametrize(
    "policies",
    [
        (),
        (
            allowing(
                "forensics-isolate-abcdef12",
                podSelector={"matchLabels": {ISOLATED_LABEL: "abcdef12"}},
                policyTypes=["Ingress", "Egress"],
                egress=[{}],
            ),
        ),
    ],
)
def test_a_label_alone_does_not_keep_a_pod_from_being_isolated(policies: Any) -> None:
    step = labelled_for_another(replace(SURROUNDINGS, policies=policies))
    assert isinstance(step, Isolate)
    assert step.patch is not None
    assert step.patch["metadata"]["labels"][ISOLATED_LABEL] == UID[:8]


def test_a_policy_that_waits_for_isolated_pods_to_let_them_out_is_told() -> None:
    waiting = allowing(
        "backdoor",
        podSelector={"matchExpressions": [{"key": ISOLATED_LABEL, "operator": "Exists"}]},
        policyTypes=["Egress"],
        egress=[{}],
    )
    around = replace(SURROUNDINGS, policies=(waiting,))
    step = isolate_first(replace(observed(), surroundings=around), SETTINGS)
    assert isinstance(step, Isolate)
    assert not step.enforced
    assert "let traffic through: backdoor" in step.message


def test_a_pod_that_is_gone_is_not_isolated() -> None:
    gone = replace(observed(), pod=ObservedPod(None))
    assert isolate_first(gone, SETTINGS) == GiveUpIsolation("The pod is gone.")


def test_it_is_looked_for_what_the_decision_needs_and_no_more() -> None:
    assert isolate_first(replace(observed(), pod=None), SETTINGS) is Look.POD
    assert isolate_first(replace(observed(), surroundings=None), SETTINGS) is Look.SURROUNDINGS
    plain = Observed(checkpoint("Capturing"), NOW)
    assert isolate_first(plain, SETTINGS) is None
    assert release_first(plain) is None


def controlled(kind: str, **selector: Any) -> NamespaceSurroundings:
    owner = {"kind": kind, "metadata": {"name": "db"}, "spec": {"selector": selector}}
    return replace(SURROUNDINGS, services=(), controller=owner, gaps=("a gap",))


@pytest.mark.parametrize(
    ("around", "said"),
    [
        (controlled("StatefulSet"), "the StatefulSet db replaces it once it is deleted"),
        (controlled("DaemonSet"), "the DaemonSet db replaces it"),
        (
            controlled("Job", matchExpressions=[{"key": "x", "operator": "DoesNotExist"}]),
            "the Job db selects it all the same, and does not replace it",
        ),
    ],
)
def test_it_is_told_what_becomes_of_the_pods_place(
    around: NamespaceSurroundings, said: str
) -> None:
    step = isolate_first(replace(observed(), surroundings=around), SETTINGS)
    assert isinstance(step, Isolate)
    assert said in step.message
    assert step.message.endswith("; a gap.")
    assert step.enforced


ISOLATING = Isolate({}, None, True, "m", until=NOW + timedelta(seconds=10))
LIFTING = LiftIsolation("m")


def after(action: Any, error: Any, *, late: bool = False, **spec: Any) -> Any:
    seen = observed(**spec)
    now = NOW + timedelta(seconds=11) if late else NOW
    return after_failure(replace(seen, now=now), Failure(action, error))


@pytest.mark.parametrize("error", [ApiUnavailable("m"), Conflict("m"), NotFound("m")])
def test_what_passes_is_tried_again_for_a_while(error: Any) -> None:
    assert after(ISOLATING, error) == BackOff(error)
    assert isinstance(after(ISOLATING, error, late=True), GiveUpIsolation)
    unhurried = replace(ISOLATING, until=None)
    assert after(unhurried, error, late=True) == BackOff(error)


@pytest.mark.parametrize("error", [Forbidden("no"), Invalid("no"), AlreadyExists("no")])
def test_what_does_not_pass_is_told_at_once(error: Any) -> None:
    assert isinstance(after(ISOLATING, error), GiveUpIsolation)
    assert isinstance(after(LIFTING, error), TellRefusal)


def test_a_right_that_is_missing_is_told_with_the_overlay_that_gives_it() -> None:
    overlay = "no. The overlay deploy/overlays/containment gives the operator that right."
    assert after(ISOLATING, Forbidden("no.")).message == overlay
    assert after(DeletePod("u"), Forbidden("no")) == TellDeletion(
        False, "Forbidden", f"The pod is kept: {overlay}"
    )


def test_what_is_not_about_the_pod_is_left_to_others() -> None:
    assert after("something else", Forbidden("no")) is None
