"""What each step took, of whatever times are known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.kube.objects import Object
from forensics_core.operator.attempt.timings import step_timings

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def text(seconds: float) -> str:
    return at(seconds).isoformat()


CHECKPOINT = PodCheckpoint.parse(
    {
        "metadata": {"name": "web", "creationTimestamp": text(0)},
        "spec": {"pod": "web-0"},
        "status": {"startTime": text(1), "jobName": "job-1"},
    }
)
JOB: Object = {"metadata": {"name": "job-1", "creationTimestamp": text(2)}}
POD: Object = {
    "metadata": {"name": "pod"},
    "status": {
        "conditions": [
            {"type": "Ready", "lastTransitionTime": text(9)},
            {"type": "PodScheduled", "lastTransitionTime": text(3)},
        ],
        "containerStatuses": [
            {"name": "other", "state": {"running": {"startedAt": text(8)}}},
            {"name": "collector", "state": {"terminated": {"startedAt": text(4)}}},
        ],
    },
}
CAPTURED = at(5), at(5.5)


def steps(
    checkpoint: PodCheckpoint = CHECKPOINT,
    job: Object | None = JOB,
    pod: Object | None = POD,
    captured: tuple[datetime, datetime] = CAPTURED,
) -> dict[str, int]:
    found = step_timings(checkpoint, job, pod, captured, at(6))
    return {each.step.value: each.milliseconds for each in found}


def test_every_step_that_somebody_timed_is_there() -> None:
    assert steps() == {
        "Reaction": 1000,
        "Context": 1000,
        "Scheduling": 1000,
        "ContainerStart": 1000,
        "CollectorStart": 1000,
        "Capture": 500,
        "Check": 500,
    }


def test_a_step_that_nobody_timed_is_part_of_the_next() -> None:
    assert steps(pod=None) == {
        "Reaction": 1000,
        "Context": 1000,
        "CollectorStart": 3000,
        "Capture": 500,
        "Check": 500,
    }


@pytest.mark.parametrize("job", [None, {"metadata": {"name": "job-2"}}])
def test_a_job_of_another_attempt_tells_nothing(job: Object | None) -> None:
    assert "Scheduling" not in steps(job=job)
    assert sum(steps(job=job).values()) == 6000


def test_a_clock_that_is_ahead_makes_no_step_negative_and_the_sum_no_longer() -> None:
    fast = at(5.8), at(5.7)
    found = steps(captured=fast)
    assert found["Capture"] == 0
    assert sum(found.values()) == 6000


def test_a_node_that_lies_cannot_break_the_status() -> None:
    wrong = at(0).replace(tzinfo=None, year=1), at(1e9)
    found = steps(captured=wrong)
    assert (found["CollectorStart"], found["Check"]) == (0, 0)
    assert found["Capture"] == 2**31 - 1


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"conditions": None, "containerStatuses": None},
        {"containerStatuses": [{"name": "collector", "state": None}]},
        {"conditions": [{"type": "PodScheduled", "lastTransitionTime": "yesterday"}]},
        {"containerStatuses": [{"name": "collector", "state": {"running": {"startedAt": 5}}}]},
    ],
)
def test_what_a_pod_does_not_tell_or_tells_wrongly_is_left_out(status: dict[str, Any]) -> None:
    found = steps(pod={"metadata": {"name": "pod"}, "status": status})
    assert not {"Scheduling", "ContainerStart"} & set(found)
