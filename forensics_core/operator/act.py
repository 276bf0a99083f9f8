"""Carrying an action out: writes in an order in which a crash between any two of them is harmless.

What a later write relies on is written first: the status fixes the names before anything bears
them, the context is stored before the order tells its digests, the order exists before the Job.
Every write is safe to make twice. Nothing here decides: errors go to whoever called.
"""

from __future__ import annotations

import logging
from datetime import datetime

from forensics_core.api.conditions import ConditionType, find_condition
from forensics_core.api.order import WorkOrder
from forensics_core.api.podcheckpoint import Phase, PodCheckpoint
from forensics_core.api.steps import StepTiming
from forensics_core.errors import Invalid
from forensics_core.kube.objects import Object
from forensics_core.operator import status as to
from forensics_core.operator.act_containment import ContainmentExecutor
from forensics_core.operator.actions import (
    Action,
    AddFinalizer,
    AttemptOver,
    BackOff,
    CreateJob,
    Effects,
    Expire,
    Fail,
    Finish,
    Monitor,
    Release,
    Relocate,
    ReportDelay,
    RequeueAfter,
    ResumeAttempt,
    SetCaptured,
    StartAttempt,
    StepBack,
    StopJob,
    Thaw,
    Wait,
)
from forensics_core.operator.attempt.order import build_order
from forensics_core.operator.attempt.pods import job_finished, never_created, node_of
from forensics_core.operator.attempt.timings import step_timings
from forensics_core.operator.containment.actions import ContainmentAction
from forensics_core.operator.containment.conditions import at_the_end
from forensics_core.operator.evidence.manifest import BundleFacts
from forensics_core.operator.observed import Observed
from forensics_core.operator.shared.cache import fields_of, name_of

log = logging.getLogger(__name__)


async def act(action: Action, observed: Observed, effects: Effects) -> None:
    """Carry `action` out. Raises what an effect met, and what the action itself says."""
    await Executor(observed, effects).execute(action)


class Executor:
    """Carries actions out on one checkpoint."""

    def __init__(self, observed: Observed, effects: Effects) -> None:
        self._observed = observed
        self._checkpoint = observed.checkpoint
        self._do = effects

    async def execute(self, action: Action) -> None:
        """Carry one out: first those that begin an attempt."""
        match action:
            case Wait():
                await self._wait(action)
            case StartAttempt():
                await self._start_attempt(action)
            case ResumeAttempt(pod, isolate):
                await self._make_children(self._checkpoint, pod, isolate=isolate)
            case CreateJob(order):
                await self._create_job(self._checkpoint, order)
            case Relocate() | StepBack() | BackOff():
                await self._retry_elsewhere(action)
            case _ if isinstance(action, ContainmentAction):
                await ContainmentExecutor(self._observed, self._do).execute(action)
            case _:
                await self._watch_over(action)

    async def _watch_over(self, action: Action) -> None:
        """Carry out what is done about an attempt that is under way."""
        match action:
            case Monitor():
                await self._monitor(action)
            case ReportDelay():
                await self._report_delay(action)
            case StopJob():
                await self._stop_job()
            case Thaw(containers):
                await self._do.create_thaw_job(self._checkpoint, containers)
                self._event("Thawing", "Containers that may stand still are being resumed.")
            case _:
                await self._end(action)

    async def _end(self, action: Action) -> None:
        """Carry out what ends a checkpoint, and what is about the resource itself."""
        match action:
            case SetCaptured():
                await self._set_captured(action)
            case Finish():
                await self._finish(action)
            case Fail():
                await self._fail(action)
            case AddFinalizer():
                await self._do.add_finalizer(self._checkpoint)
            case Release():
                await self._delete_orders(self._checkpoint)
                await self._do.remove_finalizer(self._checkpoint)
            case Expire():
                await self._do.delete_checkpoint(self._checkpoint)
            case RequeueAfter(until):
                self._requeue(until)

    # How an attempt begins

    async def _wait(self, action: Wait) -> None:
        checkpoint, now = self._checkpoint, self._observed.now
        await self._attempt_over(action.over)
        location = ""
        if action.store_context:
            location = to.location_of(checkpoint, self._destination, action.attempt, now)
        status = to.set_waiting(
            checkpoint,
            action.pod,
            action.reason,
            action.message,
            now,
            node=action.node,
            location=location,
        )
        # First of all: what follows may raise, and the wait must not be forgotten.
        self._requeue(action.until)
        if status != checkpoint.status:
            checkpoint = await self._do.write_status(checkpoint, status)
            # That others come first is nothing to look into, and many wait: the condition says it.
            if not action.node:
                self._do.event(checkpoint, "Waiting", action.message)
        if action.store_context:
            await self._do.store_context(checkpoint, action.pod)
        if action.error is not None:
            raise action.error

    async def _start_attempt(self, action: StartAttempt) -> None:
        checkpoint, now, over = self._checkpoint, self._observed.now, action.over
        # Nothing may be awaited between the decision and this: places on a node are counted.
        with self._do.reserve(checkpoint, node_of(action.pod)):
            await self._attempt_over(over)
            status = to.set_capturing(
                checkpoint, action.pod, self._destination, action.attempt, over.why, now
            )
            begun = await self._do.write_status(checkpoint, status)
        name = name_of(begun)
        log.info("attempt %s of %s begins", action.attempt, name, extra=fields_of(begun))
        await self._make_children(begun, action.pod, isolate=action.isolate)

    async def _make_children(
        self, checkpoint: PodCheckpoint, pod: Object, *, isolate: bool
    ) -> None:
        """Store the context, then write the order, then make the Job, unless that has to wait."""
        context = await self._do.store_context(checkpoint, pod)
        missing = never_created(pod, checkpoint.spec.containers)
        order = build_order(
            checkpoint,
            pod,
            context.files,
            [*context.gaps, *(f"container {name}: it was never created" for name in missing)],
            self._destination,
            to.seconds_left(checkpoint, self._do.now()),
            await self._do.checkpoint_memory(checkpoint, pod),
        )
        # The Job's pod mounts the order: without it, it would not start.
        order = await self._do.create_order(checkpoint, order)
        if isolate:
            # The context shows the pod as it was: it is stored, and the order has its digests.
            self._requeue(self._do.now())
        else:
            await self._create_job(checkpoint, order)

    async def _create_job(self, checkpoint: PodCheckpoint, order: WorkOrder) -> None:
        await self._do.create_job(checkpoint, order)
        status = checkpoint.status
        # Of many that had to wait for their place, nobody reads how each began: one write less.
        waited = self._checkpoint.status.phase is Phase.PENDING and self._checkpoint.status.node
        # The event about the isolation has just been told, at the same step.
        isolated = find_condition(status.conditions, ConditionType.ISOLATED) is not None
        if waited or (isolated and status.attempt == 1):
            return
        note = f"Job {status.job_name} captures the pod on node {status.node}."
        self._do.event(checkpoint, "CaptureStarted", note)

    async def _attempt_over(self, over: AttemptOver) -> None:
        """See to it that nothing of an attempt that is over goes on."""
        self._do.forget(self._observed.collector_pod)
        # Before the status names another attempt: afterwards nobody would look at this Job again.
        if over.stop_job:
            await self._do.delete_job(self._checkpoint)
        if over.why:
            self._event("AttemptFailed", over.why, warning=True)

    async def _retry_elsewhere(self, action: Relocate | StepBack | BackOff) -> None:
        """Leave a location or a place to others, and have the same tried again later."""
        checkpoint, error, now = self._checkpoint, action.error, self._do.now()
        if isinstance(action, Relocate):
            status = to.set_relocated(checkpoint, self._destination, now)
            await self._do.write_status(checkpoint, status)
        elif isinstance(action, StepBack):
            reason = type(error).__name__
            await self._do.write_status(
                checkpoint, to.set_stepped_back(checkpoint, reason, str(error), now)
            )
        raise error

    # While it runs

    async def _monitor(self, action: Monitor) -> None:
        self._requeue(action.until)
        self._do.follow(self._checkpoint, self._observed.collector_pod)
        if action.progress is not None:
            status = to.set_progress(self._checkpoint, action.progress, self._observed.now)
            await self._do.write_status(self._checkpoint, status)

    async def _report_delay(self, action: ReportDelay) -> None:
        self._requeue(action.until)
        status = to.set_delayed(self._checkpoint, action.reason, action.message, self._observed.now)
        written = await self._do.write_status(self._checkpoint, status)
        note = f"Not started yet: {action.message}"
        self._do.event(written, action.reason, note, warning=True)

    async def _stop_job(self) -> None:
        await self._do.delete_job(self._checkpoint)
        if self._observed.job is None or not job_finished(self._observed.job):
            name = self._checkpoint.status.job_name
            self._event("Stopping", f"Job {name} is being stopped.")

    # How it ends

    async def _set_captured(self, action: SetCaptured) -> None:
        await self._attempt_over(action.over)
        evidence, last = action.evidence, self._checkpoint.status.attempt
        then = to.at_attempt(self._checkpoint, evidence.attempt, evidence.location)
        by = "" if evidence.attempt == last else f" by attempt {evidence.attempt}"
        await self._write_captured(then, evidence, by)

    async def _finish(self, action: Finish) -> None:
        checkpoint, evidence = self._checkpoint, action.evidence
        # Said before the seal: a store or a key that is away must not keep the pod alive.
        if checkpoint.status.phase is not Phase.SEALING:
            checkpoint = await self._write_captured(checkpoint, evidence)
        if action.seal:
            await self._do.store_seal(checkpoint, action.manifest)
            # From here on our seal shows that the manifest was checked.
            await self._delete_orders(checkpoint)
        found = None
        if action.findings:
            found = await self._do.find_findings(checkpoint, evidence.documents)
        status = to.set_complete(checkpoint, evidence, action.seal, self._observed.now)
        status = status.model_copy(update={"findings": found})
        status = at_the_end(checkpoint.model_copy(update={"status": status}), self._observed.now)
        written = await self._do.write_status(checkpoint, status)
        if not action.seal:
            # Until now only the order could tell that the manifest is the one that was asked for.
            await self._delete_orders(checkpoint)
        self._do.count_end(written, "Partial" if evidence.gaps else "Complete")
        where = f"{'sealed' if action.seal else 'stored'} at {status.location}"
        note = f"Evidence is {where}, manifest sha256:{status.manifest_sha256}"
        self._do.event(written, "Complete", note)

    async def _fail(self, action: Fail) -> None:
        await self._attempt_over(action.over)
        checkpoint = self._checkpoint
        status = to.set_failed(checkpoint, action.reason, action.message, self._observed.now)
        status = at_the_end(checkpoint.model_copy(update={"status": status}), self._observed.now)
        written = await self._do.write_status(checkpoint, status)
        # Not before: an attempt without its order would be begun again.
        await self._delete_orders(checkpoint)
        self._do.count_end(written, action.reason)
        told = find_condition(status.conditions, ConditionType.FAILED)
        note = told.message if told else action.message
        self._do.event(written, action.reason, note, warning=True)

    async def _write_captured(
        self, checkpoint: PodCheckpoint, evidence: BundleFacts, by: str = ""
    ) -> PodCheckpoint:
        """Say that the pod may go; `checkpoint` is as it was at the attempt that captured it."""
        try:
            status = to.set_captured(checkpoint, evidence, self._observed.now)
            status = status.model_copy(update={"timings": self._timings(checkpoint, evidence)})
        except ValueError as error:
            raise Invalid(f"No status can hold it: {error}") from error
        written = await self._do.write_status(checkpoint, status)
        self._do.forget(self._observed.collector_pod)
        self._do.event(written, "Captured", f"{status.size} stored{by}: the pod may be killed.")
        self._do.count_captured(written)
        return written

    def _timings(self, checkpoint: PodCheckpoint, evidence: BundleFacts) -> tuple[StepTiming, ...]:
        seen, captured = self._observed, (evidence.started_at, evidence.finished_at)
        return step_timings(checkpoint, seen.job, seen.collector_pod, captured, self._do.now())

    async def _delete_orders(self, checkpoint: PodCheckpoint) -> None:
        """Delete the orders of all attempts: each is kept until there is an end."""
        status = checkpoint.status
        # After a fallback the current attempt is an earlier one; the others have failed.
        made = max(status.attempt, status.failed + (not checkpoint.finished))
        for attempt in range(1, made + 1 if status.attempt else 1):
            await self._do.delete_order(checkpoint, attempt)

    @property
    def _destination(self) -> str:
        return self._do.settings.destination_of(self._checkpoint)

    def _requeue(self, until: datetime | None) -> None:
        if until is not None:
            self._do.requeue(self._checkpoint, until)

    def _event(self, reason: str, note: str, *, warning: bool = False) -> None:
        self._do.event(self._checkpoint, reason, note, warning=warning)
