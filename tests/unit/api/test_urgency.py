from __future__ import annotations

from typing import Any

import pytest

from forensics_core.api.urgency import Urgency, state_of, urgency_of
from forensics_loopback.kinds.seeds import running_pod


def pod(*, containers: Any = None, deleted: bool = False, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = running_pod("web-0", "shop")
    if deleted:
        made["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    if containers is not None:
        made["status"]["containerStatuses"] = containers
    made["spec"] |= more.pop("spec", {})
    made["status"] |= more
    return made


def waiting(reason: str) -> list[dict[str, Any]]:
    return [{"name": "app", "state": {"waiting": {"reason": reason}}}]


def ended(code: int) -> list[dict[str, Any]]:
    return [{"name": "app", "state": {"terminated": {"exitCode": code}}}]


EVICTED = [{"type": "Ready", "status": "False"}, {"type": "DisruptionTarget", "status": "True"}]


@pytest.mark.parametrize(
    ("made", "urgency", "state"),
    [
        (pod(), Urgency.REST, "Running"),
        (pod(deleted=True), Urgency.DYING, "Terminating"),
        (pod(deleted=True, containers=waiting("CrashLoopBackOff")), Urgency.DYING, "Terminating"),
        (pod(conditions=EVICTED), Urgency.DYING, "Running"),
        (
            pod(conditions=[{"type": "DisruptionTarget", "status": "False"}]),
            Urgency.REST,
            "Running",
        ),
        (pod(phase="Failed", reason="Evicted"), Urgency.REST, "Evicted"),
        (pod(containers=waiting("CrashLoopBackOff")), Urgency.CRASHING, "CrashLoopBackOff"),
        (pod(containers=waiting("ImagePullBackOff")), Urgency.REST, "ImagePullBackOff"),
        (pod(containers=ended(137)), Urgency.CRASHING, "Running"),
        (pod(containers=ended(0)), Urgency.REST, "Running"),
        (pod(containers=ended(1), spec={"restartPolicy": "Never"}), Urgency.REST, "Running"),
    ],
)
def test_dying_pods_come_before_crash_looping_ones_before_the_rest(
    made: dict[str, Any], urgency: Urgency, state: str
) -> None:
    assert (urgency_of(made), state_of(made)) == (urgency, state)


def test_a_pod_without_status_or_with_an_odd_one_is_an_ordinary_pod() -> None:
    bare: dict[str, Any] = {"metadata": {"name": "web-0"}}
    assert (urgency_of(bare), state_of(bare)) == (Urgency.REST, "Unknown")
    odd = bare | {"status": {"containerStatuses": [{"state": None}, {}], "conditions": None}}
    assert (urgency_of(odd), state_of(odd)) == (Urgency.REST, "Unknown")
