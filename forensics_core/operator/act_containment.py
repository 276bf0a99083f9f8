"""Carrying out what is decided about the pod itself. Nothing here decides: errors go to the caller.

The policy comes before the label that it selects, and both before the word of it: whoever finds
only the first of them makes the others.
"""

from __future__ import annotations

from contextlib import suppress

from forensics_core.api.conditions import ConditionType
from forensics_core.api.podcheckpoint import PodCheckpoint, PodCheckpointStatus
from forensics_core.errors import ClusterError
from forensics_core.operator.actions import Effects
from forensics_core.operator.containment import conditions
from forensics_core.operator.containment.actions import (
    ContainmentAction,
    DeletePod,
    GiveUpIsolation,
    Isolate,
    LiftIsolation,
    TellDeletion,
    TellRefusal,
)
from forensics_core.operator.observed import Observed


class ContainmentExecutor:
    """Carries actions out on the pod of one checkpoint."""

    def __init__(self, observed: Observed, effects: Effects) -> None:
        self._checkpoint = observed.checkpoint
        self._now = observed.now
        self._do = effects

    async def execute(self, action: ContainmentAction) -> None:
        """Carry one out."""
        match action:
            case Isolate():
                await self._isolate(action)
            case GiveUpIsolation():
                await self._give_up(action)
            case LiftIsolation():
                await self._lift(action)
            case TellRefusal(message):
                status = conditions.set_not_lifted(self._checkpoint, message, self._now)
                await self._report(status, "NotReleased", message, warning=True)
            case DeletePod(uid):
                await self._do.containment.delete_pod(self._checkpoint, uid)
                await self._deleted(TellDeletion(True, "Deleted", "The pod was deleted."))
            case TellDeletion():
                await self._deleted(action)

    async def _isolate(self, action: Isolate) -> None:
        # First of all: what follows may raise, and the capture must not wait for ever.
        if action.until is not None:
            self._do.requeue(self._checkpoint, action.until)
        await self._do.containment.create_policy(self._checkpoint, action.policy)
        if action.patch is not None:
            await self._do.containment.patch_pod(self._checkpoint, action.patch)
        reason = conditions.ENFORCED if action.enforced else conditions.UNVERIFIED
        status = conditions.set_isolated(self._checkpoint, reason, action.message, self._now)
        await self._report(status, "Isolated", action.message, warning=not action.enforced)
        self._do.count_containment(self._checkpoint, ConditionType.ISOLATED, reason)

    async def _give_up(self, action: GiveUpIsolation) -> None:
        # As far as that is possible: what cannot be undone now, a release undoes.
        with suppress(ClusterError):
            await self._undo()
        reason = conditions.NOT_POSSIBLE
        status = conditions.set_isolated(self._checkpoint, reason, action.message, self._now)
        note = f"The pod is not isolated. {action.message}"
        await self._report(status, "NotIsolated", note, warning=True)
        self._do.count_containment(self._checkpoint, ConditionType.ISOLATED, reason)

    async def _lift(self, action: LiftIsolation) -> None:
        await self._undo()
        reason = conditions.RELEASED
        status = conditions.set_isolated(self._checkpoint, reason, action.message, self._now)
        await self._report(status, "Released", action.message)
        self._do.count_containment(self._checkpoint, ConditionType.ISOLATED, reason)

    async def _undo(self) -> None:
        """Give the pod its labels back, then delete the policy; either may be done already."""
        await self._do.containment.release_pod(self._checkpoint)
        await self._do.containment.delete_policy(self._checkpoint)

    async def _deleted(self, action: TellDeletion) -> None:
        status = conditions.set_pod_deleted(
            self._checkpoint, action.deleted, action.reason, action.message, self._now
        )
        reason = "PodDeleted" if action.deleted else "PodKept"
        await self._report(status, reason, action.message, warning=not action.deleted)
        self._do.count_containment(self._checkpoint, ConditionType.POD_DELETED, action.reason)

    async def _report(
        self, status: PodCheckpointStatus, reason: str, note: str, *, warning: bool = False
    ) -> PodCheckpoint:
        written = await self._do.write_status(self._checkpoint, status)
        self._do.event(written, reason, note, warning=warning)
        return written
