"""What a status tells of containment, and what is still due. Pure: status in, status out."""

from __future__ import annotations

from datetime import datetime

from forensics_core.api.conditions import (
    Condition,
    ConditionType,
    find_condition,
    is_true,
    set_condition,
)
from forensics_core.api.podcheckpoint import (
    AfterCapture,
    Phase,
    PodCheckpoint,
    PodCheckpointStatus,
)

ENFORCED, UNVERIFIED = "Enforced", "Unverified"
NOT_POSSIBLE, RELEASED = "NotPossible", "Released"
ENDED_FIRST = "The capture ended before the pod was isolated."
_TRUTH = {ENFORCED: True, UNVERIFIED: None, NOT_POSSIBLE: False, RELEASED: False}
"""Whether the pod is cut off, by the condition's reason; None where nobody can tell."""


def isolation(checkpoint: PodCheckpoint) -> Condition | None:
    """Return what is told of the isolation, or None."""
    return find_condition(checkpoint.status.conditions, ConditionType.ISOLATED)


def isolation_reason(checkpoint: PodCheckpoint) -> str:
    """Return the reason of that condition, or nothing."""
    told = isolation(checkpoint)
    return told.reason if told else ""


def in_force(checkpoint: PodCheckpoint) -> bool:
    """Whether a policy of this checkpoint isolates its pod, as far as anybody knows."""
    return isolation_reason(checkpoint) in {ENFORCED, UNVERIFIED}


def isolation_due(checkpoint: PodCheckpoint) -> bool:
    """Whether the pod has yet to be isolated."""
    spec = checkpoint.spec
    return spec.isolate and not spec.release and isolation(checkpoint) is None


def release_due(checkpoint: PodCheckpoint) -> bool:
    """Whether the pod has yet to be released."""
    spec = checkpoint.spec
    return spec.isolate and spec.release and isolation_reason(checkpoint) != RELEASED


def refused_before(checkpoint: PodCheckpoint) -> bool:
    """Whether it was told already that this very wish to release could not be fulfilled."""
    told, generation = isolation(checkpoint), checkpoint.metadata.generation or 0
    return told is not None and (told.observed_generation or 0) >= generation


def deletion_due(checkpoint: PodCheckpoint) -> bool:
    """Whether the pod has yet to be deleted: captured whole, sealed, and asked for."""
    conditions = checkpoint.status.conditions
    if checkpoint.spec.after_capture is AfterCapture.KEEP:
        return False
    if checkpoint.status.phase is not Phase.COMPLETE or not checkpoint.captured:
        return False
    if find_condition(conditions, ConditionType.POD_DELETED) is not None:
        return False
    whole = not is_true(conditions, ConditionType.PARTIAL)
    return whole or checkpoint.spec.after_capture is AfterCapture.DELETE_EVEN_IF_PARTIAL


def anything_due(checkpoint: PodCheckpoint) -> bool:
    """Whether something is left to do with the pod of a checkpoint that has come to its end."""
    return checkpoint.finished and (release_due(checkpoint) or deletion_due(checkpoint))


def set_isolated(
    checkpoint: PodCheckpoint, reason: str, message: str, now: datetime
) -> PodCheckpointStatus:
    """Return the status with what became of the isolation."""
    return _with_condition(checkpoint, ConditionType.ISOLATED, _TRUTH[reason], reason, message, now)


def set_not_lifted(checkpoint: PodCheckpoint, message: str, now: datetime) -> PodCheckpointStatus:
    """Return the status of an isolation that is in force though it should be lifted."""
    reason = isolation_reason(checkpoint) or UNVERIFIED
    return _with_condition(checkpoint, ConditionType.ISOLATED, _TRUTH[reason], reason, message, now)


def set_pod_deleted(
    checkpoint: PodCheckpoint, deleted: bool, reason: str, message: str, now: datetime
) -> PodCheckpointStatus:
    """Return the status with what became of the pod."""
    return _with_condition(checkpoint, ConditionType.POD_DELETED, deleted, reason, message, now)


def at_the_end(checkpoint: PodCheckpoint, now: datetime) -> PodCheckpointStatus:
    """Return the status of a checkpoint that has just ended, with what will not be done.

    It is part of the write that ends it: no later one is needed to say that a pod stays.
    """
    if checkpoint.spec.isolate and isolation(checkpoint) is None:
        status = set_isolated(checkpoint, NOT_POSSIBLE, ENDED_FIRST, now)
        checkpoint = checkpoint.model_copy(update={"status": status})
    if checkpoint.spec.after_capture is AfterCapture.KEEP or deletion_due(checkpoint):
        return checkpoint.status
    if checkpoint.status.phase is Phase.FAILED:
        why = ("NotCaptured", "The pod is kept: it is not captured.")
    else:
        why = ("Partial", "The pod is kept: evidence is missing, which it may still have.")
    return set_pod_deleted(checkpoint, False, *why, now)


def _with_condition(
    checkpoint: PodCheckpoint,
    kind: str,
    truth: bool | None,
    reason: str,
    message: str,
    now: datetime,
) -> PodCheckpointStatus:
    generation = checkpoint.metadata.generation
    conditions = set_condition(
        checkpoint.status.conditions,
        kind,
        truth,
        reason=reason,
        message=message,
        now=now,
        observed_generation=generation,
    )
    changes = {"conditions": conditions, "observed_generation": generation}
    return checkpoint.status.model_copy(update=changes)
