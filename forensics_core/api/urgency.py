"""How soon the traces of a pod may be gone, as its own status has it.

    urgency_of(pod) is Urgency.DYING  # it is being deleted, or evicted

Pods are plain JSON data. What is missing in one makes it an ordinary one: a node writes this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

PodContent = Mapping[str, Any]


class Urgency(IntEnum):
    """The smaller the sooner."""

    DYING = 0
    """It is being deleted, or its node means to evict it."""
    CRASHING = 1
    """A container of it crashes and is started anew: each start removes traces of the last."""
    REST = 2


@dataclass(frozen=True, slots=True)
class WaitingCapture:
    """A checkpoint that waits for a place on its pod's node."""

    uid: str
    """The checkpoint's."""
    since: datetime
    """When it was asked for."""
    urgency: Urgency | None = None
    """Its pod's, when that was last looked at; None if it was not since the operator's start."""
    looked_at: datetime | None = None


def urgency_of(pod: PodContent) -> Urgency:
    """Return how urgent it is to capture the pod."""
    if pod["metadata"].get("deletionTimestamp") or _is_disrupted(pod):
        return Urgency.DYING
    if any(_crashes(one, pod) for one in _statuses(pod)):
        return Urgency.CRASHING
    return Urgency.REST


def state_of(pod: PodContent) -> str:
    """Return the pod's state in a word, nearly as `kubectl get pods` has it."""
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    status = pod.get("status") or {}
    if status.get("reason"):
        return str(status["reason"])
    waiting = (str(_state(one, "waiting").get("reason") or "") for one in _statuses(pod))
    return next((reason for reason in waiting if reason), str(status.get("phase") or "Unknown"))


def _is_disrupted(pod: PodContent) -> bool:
    """Whether an eviction, a preemption or a taint will take the pod away."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(
        one.get("type") == "DisruptionTarget" and one.get("status") == "True" for one in conditions
    )


def _crashes(status: PodContent, pod: PodContent) -> bool:
    if _state(status, "waiting").get("reason") == "CrashLoopBackOff":
        return True
    # Between a crash and the kubelet's pause before the next start.
    ended = _state(status, "terminated")
    policy = (pod.get("spec") or {}).get("restartPolicy", "Always")
    return bool(ended.get("exitCode")) and policy != "Never"


def _statuses(pod: PodContent) -> Iterator[PodContent]:
    status = pod.get("status") or {}
    for group in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(group) or ()


def _state(status: PodContent, name: str) -> PodContent:
    return (status.get("state") or {}).get(name) or {}
