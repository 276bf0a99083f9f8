"""The ends of a checkpoint: given up, stopped, released, expired."""

from __future__ import annotations

from forensics_core.api.conditions import ConditionType, find_condition
from forensics_core.api.names import FINALIZER
from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.errors import DestinationUnreachable
from forensics_core.operator import statuses
from forensics_core.operator.desk import Desk
from forensics_core.operator.fallback import fall_back
from forensics_core.operator.outcomes import job_finished
from forensics_core.operator.reconcile import Observed, overdue
from forensics_core.operator.thaw import thaw


class Ending:
    """Ends checkpoints."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def give_up(self, observed: Observed, reason: str, message: str) -> None:
        """End in `Failed`, for good, unless an earlier attempt left something to take."""
        checkpoint = observed.checkpoint
        self._desk.followers.forget(observed.worker)
        try:
            if await fall_back(self._desk, observed):
                return
        except DestinationUnreachable:
            if not overdue(observed, self._desk.settings):
                raise
        status = statuses.failed(checkpoint, reason, message, observed.now)
        written = await self._desk.write(checkpoint, status)
        await self._desk.delete_orders(checkpoint)
        self._desk.done(written, reason)
        said = find_condition(status.conditions, ConditionType.FAILED)
        self._desk.say(checkpoint, reason, said.message if said else message, warning=True)

    async def stop(self, observed: Observed) -> None:
        """Delete the Job: its collector then ends by itself, with a manifest of what it has."""
        checkpoint = observed.checkpoint
        await self._desk.jobs.delete(
            checkpoint.status.job_name,
            checkpoint.metadata.namespace,
            propagation="Background",
            missing_ok=True,
        )
        if observed.job is None or not job_finished(observed.job):
            note = f"Job {checkpoint.status.job_name} is being stopped."
            self._desk.say(checkpoint, "Stopping", note)

    async def release(self, checkpoint: PodCheckpoint) -> None:
        """Let a deleted resource go: nothing of it is left running, or standing still."""
        if not checkpoint.finished:
            await thaw(self._desk, checkpoint)
        await self._desk.delete_orders(checkpoint)
        left = [name for name in checkpoint.metadata.finalizers if name != FINALIZER]
        metadata = {
            "finalizers": left,
            "resourceVersion": checkpoint.metadata.resource_version,
        }
        await self._desk.checkpoints(checkpoint).patch(
            checkpoint.metadata.name, {"metadata": metadata}
        )

    async def expire(self, checkpoint: PodCheckpoint) -> None:
        """Delete a resource whose time is over; its evidence stays."""
        await self._desk.checkpoints(checkpoint).delete(
            checkpoint.metadata.name, uid=checkpoint.metadata.uid, missing_ok=True
        )
