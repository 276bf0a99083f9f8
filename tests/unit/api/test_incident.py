from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from forensics_core.api.incident import (
    IncidentSummary,
    PodRequest,
    RequestState,
    is_for,
    request_name,
)
from forensics_core.api.podcheckpoint import Phase, PodCheckpoint
from forensics_core.api.selection import SelectedPod
from forensics_core.errors import Forbidden

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
POD = SelectedPod("shop", "web-0", "u1")


def condition(kind: str, reason: str, status: str = "True", message: str = "") -> dict[str, Any]:
    at = NOW.isoformat()
    said = {"reason": reason, "message": message, "lastTransitionTime": at}
    return {"type": kind, "status": status} | said


CAPTURED = condition("Captured", "ManifestFound")
PARTIAL = condition("Partial", "Gone", message="the log went")
FAILED = condition("Failed", "PodGone", message="It is no more.")
BUSY = condition("Captured", "NodeBusy", "False", "Another pod is captured.")


def checkpoint(
    pod: str = "web-0", phase: str = "", *conditions: dict[str, Any], **more: Any
) -> PodCheckpoint:
    """Return a checkpoint; `age` in seconds, `uid` of the pod, `expected` UID, `findings`."""
    made = NOW - timedelta(seconds=more.get("age", 0))
    metadata: dict[str, Any] = {
        "name": more.get("name", f"{pod}-x"),
        "namespace": "forensics-system",
        "creationTimestamp": made.isoformat(),
    }
    if "expected" in more:
        metadata["annotations"] = {"forensics.orkaproj.io/expected-pod-uid": more["expected"]}
    if "deleted" in more:
        metadata["deletionTimestamp"] = NOW.isoformat()
    status = {"conditions": list(conditions), "podUID": more.get("uid", ""), "bytes": 10}
    status |= {"phase": phase} if phase else {}
    status |= {"findings": more["findings"]} if "findings" in more else {}
    spec = {"pod": pod, "namespace": more.get("namespace", "shop"), "incident": "INC-7"}
    return PodCheckpoint.parse({"metadata": metadata, "spec": spec, "status": status})


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (checkpoint(), True),
        (checkpoint("web-1"), False),
        (checkpoint(namespace="mall"), False),
        (checkpoint(uid="u1"), True),
        (checkpoint(uid="u2"), False),
        (checkpoint(expected="u1"), True),
        (checkpoint(expected="u2"), False),
        (checkpoint("web-0", "Complete", CAPTURED, uid="u1"), True),
        (checkpoint("web-0", "Complete", CAPTURED), False),
        (checkpoint("web-0", "Failed", FAILED, uid="u1"), False),
        (checkpoint(uid="u1", deleted=True), False),
    ],
)
def test_a_pod_is_captured_already_if_it_is_this_very_one_and_that_did_not_fail(
    one: PodCheckpoint, same: bool
) -> None:
    assert is_for(one, POD) is same


def test_the_name_of_a_request_is_the_same_for_whoever_asks() -> None:
    assert request_name("INC-7", POD, 0) == request_name("INC-7", POD, 0)
    others = {
        request_name("INC-8", POD, 0),
        request_name("INC-7", POD, 1),
        request_name("INC-7", SelectedPod("shop", "web-0", "u2"), 0),
    }
    assert len(others) == 3 and request_name("INC-7", POD, 0) not in others
    long = request_name("INC-7", SelectedPod("shop", "a" * 47 + "." + "b" * 200, "u"), 0)
    assert long.startswith("a" * 47 + "-") and len(long) == 47 + 9


def test_a_request_is_told_as_plain_data() -> None:
    made = PodRequest(POD, RequestState.CREATED, checkpoint())
    assert (made.to_dict()["state"], made.to_dict()["checkpoint"]) == ("Created", "web-0-x")
    refused = PodRequest(POD, RequestState.REFUSED, error=Forbidden("No"))
    assert refused.to_dict()["error"] == "No." and refused.to_dict()["checkpoint"] == ""


def finding(rule: str, severity: str, message: str) -> dict[str, Any]:
    return {"rule": rule, "severity": severity, "container": "app", "message": message}


def found(high: int, *first: dict[str, Any]) -> dict[str, Any]:
    return {"total": high + 1, "bySeverity": {"high": high, "low": 1}, "first": list(first)}


MINER = finding("program", "High", "miner")
KEY = finding("ssh-key", "High", "key")
SHELL = finding("shell", "Low", "shell")


def test_a_summary_says_who_may_be_killed_who_failed_and_what_was_found() -> None:
    summary = IncidentSummary.of(
        "INC-7",
        [
            checkpoint("c", "Failed", FAILED, uid="3"),
            checkpoint("a", "Complete", CAPTURED, uid="1", findings=found(2, MINER, KEY)),
            checkpoint("b", "Sealing", CAPTURED, uid="2", findings=found(1, SHELL, MINER)),
            checkpoint("d", "Complete", CAPTURED, PARTIAL, uid="4"),
            checkpoint("e", "Pending", BUSY),
            checkpoint("f"),
            checkpoint("g", "Capturing", condition("Captured", "Capturing", "False")),
        ],
    )
    assert summary.headline == "3 of 7 pods may be killed"
    assert summary.may_be_killed == ("shop/a", "shop/b", "shop/d")
    assert [(pod.name, pod.reason) for pod in summary.failed] == [
        ("shop/c", "PodGone: It is no more.")
    ]
    assert [(pod.name, pod.reason) for pod in summary.partial] == [("shop/d", "Gone: the log went")]
    assert summary.phases == {
        Phase.PENDING: 2,
        Phase.CAPTURING: 1,
        Phase.SEALING: 1,
        Phase.COMPLETE: 2,
        Phase.FAILED: 1,
    }
    assert [pod.reason for pod in summary.pods[4:]] == [
        "NodeBusy: Another pod is captured.",
        "",
        "",
    ]
    assert (summary.finished, summary.size) == (False, 30)
    assert {str(key): count for key, count in summary.severities.items()} == {"High": 3, "Low": 2}
    ranked = [(names, one.rule) for names, one in summary.first_findings()]
    assert ranked == [
        (("shop/a", "shop/b"), "program"),
        (("shop/a",), "ssh-key"),
        (("shop/b",), "shell"),
    ]
    assert len(summary.first_findings(2)) == 2


def test_of_several_captures_of_one_pod_the_good_one_counts() -> None:
    old = checkpoint("web-0", "Failed", FAILED, uid="1", age=60, name="old")
    new = checkpoint("web-0", "Complete", CAPTURED, uid="1", age=30, name="new")
    (pod,) = IncidentSummary.of("INC-7", [new, old]).pods
    assert (pod.checkpoint.metadata.name, pod.may_be_killed, pod.phase) == (
        "new",
        True,
        Phase.COMPLETE,
    )
    again = checkpoint("web-0", "Capturing", uid="1", name="again")
    (pod,) = IncidentSummary.of("INC-7", [new, again]).pods
    assert (pod.checkpoint.metadata.name, pod.may_be_killed) == ("again", False)
    (pod,) = IncidentSummary.of("INC-7", [old]).pods
    assert (pod.phase, pod.may_be_killed) == (Phase.FAILED, False)


def test_a_pod_made_anew_under_its_name_is_another_pod() -> None:
    summary = IncidentSummary.of(
        "INC-7",
        [
            checkpoint("web-0", "Complete", CAPTURED, uid="1", name="one"),
            checkpoint("web-0", "Pending", expected="2", name="two", findings=found(1, MINER)),
            checkpoint("web-0", "Pending", expected="3", name="three", findings=found(1, MINER)),
        ],
    )
    # What is said of both is said of one name.
    assert [names for names, _ in summary.first_findings()] == [("shop/web-0",)]
    assert summary.headline == "1 of 3 pods may be killed"


def test_a_summary_is_plain_data_for_programs() -> None:
    one = checkpoint("a", "Complete", CAPTURED, uid="1", findings=found(1, MINER))
    data = IncidentSummary.of("INC-7", [one]).to_dict()
    assert (data["incident"], data["pods"], data["phases"]) == ("INC-7", 1, {"Complete": 1})
    assert (data["mayBeKilled"], data["finished"], data["bytes"]) == (["shop/a"], True, 10)
    assert data["findings"]["bySeverity"] == {"High": 1, "Low": 1}
    assert data["findings"]["first"][0]["pods"] == ["shop/a"]
    assert data["checkpoints"][0]["phase"] == "Complete"
    assert IncidentSummary.of("INC-7", []).headline == "0 of 0 pods may be killed"
    assert IncidentSummary.of("INC-7", [one]).headline == "1 of 1 pod may be killed"
