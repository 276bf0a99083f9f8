"""What an interrupted attempt left: kept for the case that no later attempt yields anything.

Its collector was told to end, by a drain or an eviction, and stored a manifest of what it had. The
attempt's order is kept so that the bundle can still be checked against it, and sealed.
"""

from __future__ import annotations

from forensics_core.api.order import WorkOrder
from forensics_core.api.podcheckpoint import PodCheckpoint, PodCheckpointStatus
from forensics_core.errors import DestinationError, DestinationUnreachable, Invalid
from forensics_core.operator import sealing, statuses
from forensics_core.operator.desk import Desk
from forensics_core.operator.manifests import Unreadable
from forensics_core.operator.reconcile import Observed


async def fall_back(desk: Desk, observed: Observed) -> bool:
    """Take the latest bundle that was stored after all; return whether there is one.

    The checkpoint goes on as if that attempt had been the last. Raises `DestinationUnreachable`
    if nobody can tell now.
    """
    checkpoint = observed.checkpoint
    if checkpoint.captured:
        return False
    for attempt in range(checkpoint.status.attempt, 0, -1):
        status = await _of_attempt(desk, observed, attempt)
        if status is not None and await _take(desk, checkpoint, status):
            return True
    return False


async def _of_attempt(desk: Desk, observed: Observed, attempt: int) -> PodCheckpointStatus | None:
    checkpoint = observed.checkpoint
    ordered = await desk.order(checkpoint, attempt)
    if ordered is None or not _is_ours(ordered[0], checkpoint, attempt):
        return None
    earlier = statuses.at_attempt(checkpoint, ordered[0])
    try:
        async with desk.manifests.find(await desk.reader(earlier)) as found:
            if found is None or await sealing.differences(desk, earlier, found, *ordered):
                return None
            return statuses.captured(earlier, found.bundle, observed.now)
    except DestinationUnreachable:
        raise
    except (DestinationError, Unreadable, ValueError):
        return None


async def _take(desk: Desk, checkpoint: PodCheckpoint, status: PodCheckpointStatus) -> bool:
    try:
        written = await desk.write(checkpoint, status)
    except Invalid:
        return False
    if status.attempt != checkpoint.status.attempt:
        await desk.delete_order(checkpoint)
    note = f"{status.size} stored by attempt {status.attempt}: the pod may be killed."
    desk.say(written, "Captured", note)
    return True


def _is_ours(order: WorkOrder, checkpoint: PodCheckpoint, attempt: int) -> bool:
    return (str(order.uid), order.attempt) == (checkpoint.metadata.uid, attempt)
