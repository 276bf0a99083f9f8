"""What is worth a line in the thread: edits of a message are missed, new lines are not. Pure."""

from __future__ import annotations

from forensics_core.api.conditions import ConditionType, find_condition, is_true
from forensics_core.api.podcheckpoint import Phase, PodCheckpoint

LINKED = "linked"
"""The thread in which somebody asked knows where to follow."""
CAPTURED = "captured"
COMPLETE = "complete"
FAILED = "failed"
DELETED = "deleted"
ATTEMPT = "attempt-"
LAST = {COMPLETE, FAILED}
"""After one of these there is nothing to tell."""
ENDS = LAST | {DELETED}
"""These are told to the channel too."""


def milestones(checkpoint: PodCheckpoint, *, deleted: bool = False) -> list[str]:
    """Return all that have been reached so far, in order, those that nobody saw included."""
    status = checkpoint.status
    reached = [f"{ATTEMPT}{number}" for number in range(1, status.attempt + 1)]
    if checkpoint.captured:
        reached.append(CAPTURED)
    if status.phase is Phase.COMPLETE:
        reached.append(COMPLETE)
    elif status.phase is Phase.FAILED:
        reached.append(FAILED)
    elif deleted:
        reached.append(DELETED)
    return reached


def state(checkpoint: PodCheckpoint) -> str:
    """Return the phase in one word of the catalogue, `state.*`."""
    status = checkpoint.status
    if status.phase is None:
        return "Asked"
    if status.phase is Phase.COMPLETE and is_true(status.conditions, ConditionType.PARTIAL):
        return "Partial"
    return str(status.phase)


def why(checkpoint: PodCheckpoint, kind: str) -> tuple[str, str]:
    """Return reason and message of a condition; empty where there is none."""
    found = find_condition(checkpoint.status.conditions, kind)
    return (found.reason, found.message) if found else ("", "")
