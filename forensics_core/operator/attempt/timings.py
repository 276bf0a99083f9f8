"""How long each step took from the request to the evidence: what a responder waited for, and whom.

Clocks are three: Kubernetes and a status tell whole seconds, the operator has exact ones, and the
manifest has the node's. So a step may come out a second too long and its neighbour too short, never
below none; all together are exact to a second. A node may lie about its part of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.api.steps import Step, StepTiming
from forensics_core.kube.objects import Object
from forensics_core.operator.attempt.pods import COLLECTOR

_INT32_MAX = 2**31 - 1
"""Milliseconds that a status has room for: 24 days."""


@dataclass(frozen=True, slots=True)
class _Moment:
    """When a step ended; None where nobody told."""

    step: Step | None
    time: datetime | None


def step_timings(
    checkpoint: PodCheckpoint,
    job: Object | None,
    collector_pod: Object | None,
    captured: tuple[datetime | None, datetime | None],
    now: datetime,
) -> tuple[StepTiming, ...]:
    """Return the steps in their order, up to `now`, when the evidence was compared.

    `captured` is when the collector began and ended, as its manifest says.

    A step whose end nobody told is part of the one that follows. Job and pod count only if they are
    of the attempt that made the evidence.
    """
    ours = _is_of(checkpoint, job)
    moments = [
        _Moment(None, checkpoint.metadata.creation_timestamp),
        _Moment(Step.REACTION, checkpoint.status.start_time),
        _Moment(Step.CONTEXT, _time(job, "metadata", "creationTimestamp") if ours else None),
        _Moment(Step.SCHEDULING, _scheduled(collector_pod) if ours else None),
        _Moment(Step.CONTAINER_START, _running(collector_pod) if ours else None),
        _Moment(Step.COLLECTOR_START, captured[0]),
        _Moment(Step.CAPTURE, captured[1]),
        _Moment(Step.CHECK, now),
    ]
    return tuple(_between([each for each in moments if each.time is not None]))


def _between(moments: list[_Moment]) -> Iterator[StepTiming]:
    latest: datetime | None = None
    for before, after in pairwise(moments):
        start, end = _utc(before.time), _utc(after.time)
        # What one step seems to end too late, the next one has not lost.
        latest = max(latest or start, start)
        milliseconds = max(0, round((end - latest).total_seconds() * 1000))
        if after.step is not None:
            yield StepTiming(step=after.step, milliseconds=min(milliseconds, _INT32_MAX))


def _utc(time: datetime | None) -> datetime:
    known = time or datetime.min.replace(tzinfo=UTC)
    return known if known.tzinfo else known.replace(tzinfo=UTC)


def _is_of(checkpoint: PodCheckpoint, job: Object | None) -> bool:
    name = (job or {}).get("metadata", {}).get("name")
    return bool(name) and name == checkpoint.status.job_name


def _scheduled(pod: Object | None) -> datetime | None:
    conditions = (pod or {}).get("status", {}).get("conditions") or []
    told = [one for one in conditions if one.get("type") == "PodScheduled"]
    return _time(told[0], "lastTransitionTime") if told else None


def _running(pod: Object | None) -> datetime | None:
    for status in (pod or {}).get("status", {}).get("containerStatuses") or []:
        if status.get("name") == COLLECTOR:
            state = status.get("state") or {}
            return _time(state.get("running") or state.get("terminated"), "startedAt")
    return None


def _time(item: object, *path: str) -> datetime | None:
    """Return a time that an object of Kubernetes has, or None if it is none."""
    for name in path:
        item = item.get(name) if isinstance(item, dict) else None
    try:
        return _utc(datetime.fromisoformat(item)) if isinstance(item, str) else None
    except ValueError:
        return None
