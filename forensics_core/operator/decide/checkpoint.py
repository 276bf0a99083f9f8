"""The decision: from what is observed to the one next action. Pure, and level-triggered.

Nothing here remembers anything: after a crash at any point the same observation leads to the same
action, and every action is safe to take twice. Whatever begins an attempt, ends one, or gives a
checkpoint up is decided here, and nowhere else. Where the observation lacks something, the answer
is the `Look` that is needed first; so nothing is asked for that no decision depends on.

    step = decide(observed, settings)

The way of a checkpoint that goes well: AddFinalizer, StartAttempt, Monitor, Finish, RequeueAfter.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from forensics_core.api.names import FINALIZER
from forensics_core.api.podcheckpoint import Phase
from forensics_core.errors import (
    DestinationError,
    DestinationFull,
    DestinationUnreachable,
    ForensicsError,
    Invalid,
    UsageError,
    VerificationError,
)
from forensics_core.operator.actions import (
    AddFinalizer,
    AttemptOver,
    BackOff,
    CreateJob,
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
    Wait,
)
from forensics_core.operator.attempt.pods import (
    QUOTA_EXCEEDED,
    JobOutcome,
    cannot_start,
    delay,
    ended_at,
    is_being_deleted,
    is_out_of_quota,
    job_finished,
    outcome,
    started,
    terminated,
)
from forensics_core.operator.containment.conditions import isolation_due
from forensics_core.operator.decide import containment
from forensics_core.operator.decide.attempt import (
    UNREACHABLE,
    NextStep,
    collect,
    fail,
    has_place,
    sealing,
    start,
    thaw_first,
    without_evidence,
)
from forensics_core.operator.decide.checks import Refusal, check
from forensics_core.operator.decide.turn import look_due
from forensics_core.operator.observed import (
    Absent,
    Failure,
    ForeignObject,
    Good,
    Look,
    NameTaken,
    Observed,
    StoredOrder,
    Unreadable,
)
from forensics_core.operator.settings import Settings
from forensics_core.operator.status import is_delayed, set_delayed

ORDINARY = frozenset({"ContainerCreating", "PodInitializing", "NotStarted"})
"""Reasons that every collector has for a while: they are only told once that is over."""
_OVERDUE = {
    Phase.PENDING: "The capture could not begin before its deadline: see why it waited.",
    Phase.CAPTURING: "The capture's deadline is long over, and nothing tells how it ended.",
    Phase.SEALING: "The evidence could not be sealed within a day of its deadline.",
}


def decide(observed: Observed, settings: Settings) -> NextStep:
    """Return the next action for a checkpoint, or what has to be looked at first."""
    checkpoint = observed.checkpoint
    if observed.failure is not None:
        failure = observed.failure
        contained = containment.after_failure(observed, failure)
        waits = contained or _out_of_quota(observed, settings, failure)
        return waits or _after_failure(observed, settings, failure)
    # A deletion comes before everything else: whoever asked for it must not wait for a capture.
    if checkpoint.metadata.deletion_timestamp:
        return _deleted(observed, settings)
    if checkpoint.finished:
        return containment.finished(observed, settings)
    # Before anything is made that a deletion would have to tidy up.
    if FINALIZER not in checkpoint.metadata.finalizers:
        return AddFinalizer()
    return containment.release_first(observed) or _go_on(observed, settings)


def _go_on(observed: Observed, settings: Settings) -> NextStep:
    phase = observed.checkpoint.status.phase or Phase.PENDING
    if observed.overdue(settings):
        return _overdue(observed, settings, phase)
    if phase is Phase.SEALING:
        return sealing(observed, settings)
    if phase is Phase.CAPTURING:
        return _capturing(observed, settings)
    return _pending(observed, settings)


def _overdue(observed: Observed, settings: Settings, phase: Phase) -> NextStep:
    if phase is Phase.CAPTURING and (thaw := thaw_first(observed)):
        return thaw
    over = AttemptOver(stop_job=observed.may_run)
    return fail(observed, settings, "DeadlineExceeded", _OVERDUE[phase], over)


def _pending(observed: Observed, settings: Settings) -> NextStep:
    checkpoint = observed.checkpoint
    if checkpoint.spec.cancel:
        return fail(observed, settings, "Cancelled", "Cancelled before anything was captured.")
    if checkpoint.status.node and observed.context_stored and not has_place(observed, settings):
        # The intruder need not wait until there is a place.
        isolate = containment.isolate_first(observed, settings)
        return isolate or _wait_in_line(observed, settings)
    step = start(observed, settings, checkpoint.status.attempt + 1)
    # While the store is away, the pod is still there to be cut off: once its UID is pinned.
    if isinstance(step, Wait) and step.reason == UNREACHABLE and checkpoint.status.pod_uid:
        return containment.isolate_first(observed, settings) or step
    return step


def _wait_in_line(observed: Observed, settings: Settings) -> NextStep:
    """Wait for a place on the node; whoever leaves one, or the line, wakes those who wait."""
    due = look_due(observed.waiting, settings.timings.waiting_look)
    if due is not None and observed.now >= due and observed.pod is None:
        return Look.POD
    moments = [observed.last_moment(settings), due]
    return RequeueAfter(min((each for each in moments if each is not None), default=None))


def _without_children(observed: Observed, settings: Settings) -> NextStep:
    """Make what a crash, or somebody's hand, left unmade of an attempt that has begun."""
    if observed.order is None:
        return Look.ORDER
    if isinstance(observed.order, StoredOrder):
        if observed.manifest is None:
            return Look.MANIFEST
        if isinstance(observed.manifest, Absent):
            isolate = containment.isolate_first(observed, settings)
            return isolate or CreateJob(observed.order.order)
        return collect(observed, settings, retry=observed.may_try_again(settings))
    if observed.pod is None:
        return Look.POD
    pod, node = observed.pod.pod, observed.pod.node
    verdict = check(observed.checkpoint, pod, node, settings)
    if isinstance(verdict, Refusal) or (verdict is not None and not verdict.capturable):
        return fail(observed, settings, verdict.reason, verdict.message)
    return ResumeAttempt(pod or {}, isolate=isolation_due(observed.checkpoint))


# While a collector is at it


def _capturing(observed: Observed, settings: Settings) -> NextStep:
    checkpoint, timings = observed.checkpoint, settings.timings
    if checkpoint.spec.cancel:
        return _cancelling(observed, settings)
    # Whether the collector stored anything tells an attempt that was never made from one whose Job
    # somebody took away: the first is made, the second must not be captured a second time.
    alone = observed.job is None and observed.collector_pod is None
    if alone and not observed.has_stored:
        return _without_children(observed, settings)
    if alone or observed.worker_over(settings):
        return collect(observed, settings, retry=observed.may_try_again(settings))
    # The watches of Jobs and pods are two: the pod may have yet to say how it ended.
    if observed.collector_pod is None and observed.job is not None and job_finished(observed.job):
        return RequeueAfter(ended_at(observed.job, observed.now) + timings.silence)
    start_by = observed.start_by(settings)
    never = observed.collector_pod is not None and cannot_start(observed.collector_pod)
    if start_by is not None and (never or observed.now >= start_by):
        return _abandon(observed, settings)
    return _by_its_word(observed, settings) or _monitor(observed, settings, start_by)


def _by_its_word(observed: Observed, settings: Settings) -> NextStep | None:
    """Take what a collector has stored that says that it ends, before its kubelet tells it.

    Its word is a reason to look, and no more: whatever is not good waits for its end.
    """
    if not observed.said_end:
        return None
    good = observed.manifest is None or isinstance(observed.manifest, Good)
    return collect(observed, settings, retry=False) if good else None


def _monitor(observed: Observed, settings: Settings, start_by: datetime | None) -> NextStep:
    """Tell the progress of a collector that has started, and the delay of one that has not."""
    checkpoint, collector_pod = observed.checkpoint, observed.collector_pod
    late_at = observed.late_at(settings)
    soon = late_at if start_by and late_at and observed.now < late_at else None
    moments = [observed.lost_at(settings), start_by, soon]
    until = min((moment for moment in moments if moment is not None), default=None)
    if collector_pod is not None and started(collector_pod):
        return Monitor(until, observed.news)
    late = late_at is not None and observed.now >= late_at
    if collector_pod is None:
        # Why there is no pod costs two requests: they are made once, and only when it is late.
        if not late or is_delayed(checkpoint):
            return Monitor(until)
        if observed.delay is None:
            return Look.DELAY
    why = _why_not_started(observed)
    told = set_delayed(checkpoint, why.reason, why.message, observed.now) == checkpoint.status
    if told or (why.reason in ORDINARY and not late):
        return Monitor(until)
    return ReportDelay(why.reason, why.message, until)


def _why_not_started(observed: Observed) -> JobOutcome:
    if observed.collector_pod is not None:
        return delay(observed.collector_pod, observed.checkpoint.status.node)
    return observed.delay or outcome(observed.job, None)


def _abandon(observed: Observed, settings: Settings) -> NextStep:
    """End an attempt whose collector does not start, and say why."""
    if observed.collector_pod is None and observed.delay is None:
        return Look.DELAY
    why = _why_not_started(observed)
    late = replace(why, message=f"The collector did not start: {why.message}")
    retry = why.retry and observed.may_try_again(settings)
    return without_evidence(observed, settings, late, retry=retry)


def _cancelling(observed: Observed, settings: Settings) -> NextStep:
    """Stop the Job, wait for the collector to end, then take what it left."""
    job, collector_pod = observed.job, observed.collector_pod
    if job is not None and not job_finished(job) and not is_being_deleted(job):
        return StopJob()
    # A collector that is told to end still writes a manifest: that is what the cancellation keeps.
    running = collector_pod is not None and terminated(collector_pod) is None
    if running and not observed.lost(settings):
        return Monitor(observed.lost_at(settings), observed.news)
    return collect(observed, settings, retry=False)


def _deleted(observed: Observed, settings: Settings) -> NextStep:
    """The resource is being deleted: what is captured is sealed, and no child goes on unseen."""
    checkpoint = observed.checkpoint
    if FINALIZER not in checkpoint.metadata.finalizers:
        return RequeueAfter()
    asked = checkpoint.metadata.deletion_timestamp or observed.now
    patient = observed.now < asked + settings.timings.deletion
    if checkpoint.status.phase is Phase.SEALING and patient:
        return sealing(observed, settings)
    job, collector_pod = observed.job, observed.collector_pod
    if job is not None and not is_being_deleted(job):
        return StopJob()
    if collector_pod is not None and terminated(collector_pod) is None and patient:
        return RequeueAfter(asked + settings.timings.deletion)
    if not checkpoint.finished and (thaw := thaw_first(observed)):
        return thaw
    return containment.before_deletion(observed) or Release()


def _after_failure(observed: Observed, settings: Settings, failure: Failure) -> NextStep:
    """Decide on what an action met; what the next observation shows by itself is left to that."""
    action, error = failure.action, failure.error
    phase = observed.checkpoint.status.phase
    # What lies there may be forged context: never adopt it, never fight over it.
    if isinstance(error, ForeignObject):
        return Relocate(error)
    if isinstance(action, StartAttempt | ResumeAttempt | Wait):
        if isinstance(error, DestinationUnreachable) and phase is Phase.CAPTURING:
            return StepBack(error)
        if _is_definite(error):
            return fail(observed, settings, _reason(error), str(error))
    if isinstance(action, CreateJob) and isinstance(error, NameTaken):
        return fail(observed, settings, _reason(error), str(error))
    if isinstance(action, Finish) and isinstance(error, VerificationError):
        return fail(observed, settings, "NotSealed", str(error))
    # Once it was said that the pod may go, a status that is not taken says nothing of the evidence.
    if isinstance(error, Invalid) and phase is not Phase.SEALING:
        return _refused_as_invalid(observed, settings, action, error)
    return BackOff(error)


def _out_of_quota(observed: Observed, settings: Settings, failure: Failure) -> NextStep | None:
    """Say that the namespace has no room for order or Job, and try until it has; None if it has."""
    checkpoint, error = observed.checkpoint, failure.error
    if not is_out_of_quota(error) or checkpoint.status.phase is not Phase.CAPTURING:
        return None
    message = f"no quota is left in the namespace '{checkpoint.metadata.namespace}': {error}"
    message = message.rstrip(".")
    if set_delayed(checkpoint, QUOTA_EXCEEDED, message, observed.now) == checkpoint.status:
        return BackOff(error)
    return ReportDelay(QUOTA_EXCEEDED, message, observed.now + settings.timings.look_again)


def _refused_as_invalid(
    observed: Observed, settings: Settings, action: object, error: Invalid
) -> NextStep:
    """Leave out evidence of which the API server does not take a status."""
    if isinstance(action, Finish):
        said = " ".join(str(error).split())[:300]
        unfit = Unreadable(f"The manifest says what cannot be: {said}")
        return fail(
            replace(observed, manifest=unfit), settings, "ManifestUnreadable", unfit.message
        )
    if isinstance(action, SetCaptured) and isinstance(observed.bundles, tuple):
        others = tuple(one for one in observed.bundles if one != action.evidence)
        refused = action.evidence in observed.own
        own = Unreadable(str(error)) if refused else observed.manifest
        left = replace(observed, bundles=others, manifest=own, failure=None)
        return decide(left, settings)
    return BackOff(error)


def _is_definite(error: ForensicsError) -> bool:
    """Whether another try would meet the same again."""
    passing = (DestinationUnreachable, DestinationFull, ForeignObject)
    return isinstance(error, NameTaken | Invalid | UsageError) or (
        isinstance(error, DestinationError) and not isinstance(error, passing)
    )


def _reason(error: ForensicsError) -> str:
    """Return the condition's reason for what a destination or the cluster refused."""
    refused = type(error) in {DestinationError, UsageError}
    return "DestinationRefused" if refused else type(error).__name__
