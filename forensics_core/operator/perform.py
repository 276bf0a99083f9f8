"""Carrying a decision out: which part of the operator takes which step."""

from __future__ import annotations

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.errors import ForensicsError
from forensics_core.operator.beginning import Beginning
from forensics_core.operator.conclusion import Conclusion
from forensics_core.operator.desk import Desk
from forensics_core.operator.ending import Ending
from forensics_core.operator.reconcile import (
    Abandon,
    Dispatch,
    Expire,
    Follow,
    GiveUp,
    LookAtPod,
    LookForManifest,
    Observed,
    Protect,
    Release,
    Rest,
    Seal,
    Step,
    StopJob,
    may_try_again,
)
from forensics_core.operator.supervision import Supervision


class Performer:
    """Carries steps out, one at a time for each checkpoint."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._ending = Ending(desk)
        self._beginning = Beginning(desk, self._ending)
        self._supervision = Supervision(desk)
        self._conclusion = Conclusion(desk, self._beginning, self._ending, self._supervision)

    def gathered(self, checkpoint: PodCheckpoint) -> bool:
        """Whether the context of the attempt that waits is known to be stored."""
        return self._beginning.gathering.done(checkpoint)

    async def perform(self, step: Step, observed: Observed) -> None:
        """Carry `step` out. Errors are the cluster's and the destination's: try again later."""
        match step:
            case Protect():
                await self._beginning.protect(observed.checkpoint)
            case LookAtPod():
                await self._beginning.look_at_pod(step, observed)
            case Dispatch():
                await self._dispatch(observed)
            case Follow():
                await self._supervision.follow(step, observed)
            case Abandon():
                await self._conclusion.abandon(step, observed)
            case LookForManifest():
                await self._conclusion.look_for_manifest(step, observed)
            case Seal():
                await self._conclusion.seal(observed)
            case _:
                await self._leave_off(step, observed)

    def complain(self, key: str, error: ForensicsError) -> None:
        """Tell those who look at a checkpoint why it does not get on; it is tried again."""
        checkpoint = self._desk.cache.checkpoint(key)
        if checkpoint is not None:
            self._desk.say(checkpoint, "Retrying", str(error), warning=True)

    async def _leave_off(self, step: Step, observed: Observed) -> None:
        """Carry out what ends something, or does nothing."""
        match step:
            case StopJob():
                await self._ending.stop(observed)
            case GiveUp():
                await self._ending.give_up(observed, step.reason, step.message)
            case Release():
                await self._ending.release(observed.checkpoint)
            case Expire():
                await self._ending.expire(observed.checkpoint)
            case Rest(until=until) if until is not None:
                self._desk.wake(observed.checkpoint, (until - observed.now).total_seconds())

    async def _dispatch(self, observed: Observed) -> None:
        """Make what a crash, or somebody's hand, left unmade."""
        checkpoint = observed.checkpoint
        ordered = await self._desk.order(checkpoint)
        if ordered is not None:
            retry = may_try_again(observed, self._desk.settings)
            if not await self._conclusion.take_manifest(observed, retry=retry):
                await self._beginning.start_again(observed, ordered[0])
            return
        await self._beginning.resume(observed)
