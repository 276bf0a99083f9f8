"""The decision: from what is observed to the one next step. Pure, and level-triggered.

Nothing here remembers anything: after a crash at any point the same observation leads to the same
step, and every step is safe to take twice.

    step = reconcile(observed, settings)

The way of a checkpoint that goes well: Protect, LookAtPod (which begins the attempt and makes its
Job), Follow, LookForManifest (which finds one, compares it, and seals it), Rest. Dispatch and Seal
come in after a crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from forensics_core.api.names import FINALIZER
from forensics_core.api.podcheckpoint import Phase, PodCheckpoint
from forensics_core.kube.objects import Object
from forensics_core.operator.outcomes import hopeless, job_finished, started, terminated
from forensics_core.operator.settings import Settings

DELETION_WAIT = timedelta(seconds=90)
"""How long a resource that is being deleted waits for its seal, or for its Job's pod to end."""
LEAST_TIME = timedelta(seconds=30)
"""With less than that before the deadline no other attempt begins."""
PATIENCE = timedelta(seconds=30)
"""How long a worker may take to start before that is worth a word."""
OVERDUE = timedelta(minutes=10)
"""How long after its deadline an attempt may still be waited for, whatever it hangs on: its Job has
ended by then, and a store that is still away will not tell of it in time."""
SEAL_OVERDUE = timedelta(days=1)
"""How long after its deadline evidence that was compared may wait for its seal."""
SILENCE = timedelta(seconds=30)
"""How long a finished Job's pod may take to say how it ended, before the manifest is looked for."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What the caches say of one checkpoint; they may be behind."""

    checkpoint: PodCheckpoint
    now: datetime
    job: Object | None = None
    """The current attempt's Job."""
    worker: Object | None = None
    """That Job's pod."""
    busy: int = 0
    """Other captures that are under way on the node that the checkpoint waits for."""
    gathered: bool = True
    """Whether the context of the attempt that waits is known to be stored."""


@dataclass(frozen=True, slots=True)
class Protect:
    """Add the finalizer, so that a deletion can be tidied up after."""


@dataclass(frozen=True, slots=True)
class LookAtPod:
    """Look at the pod, check the request against it, and begin the attempt or refuse."""

    attempt: int
    why: str = ""
    """Why there is another attempt."""


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Gather the context, write the order, start the Job: whatever of this is still missing."""


@dataclass(frozen=True, slots=True)
class Follow:
    """The worker is at it: keep an eye on what it says, and look again at `until`."""

    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Abandon:
    """The worker does not start: take its Job away, and say why."""

    retry: bool
    """Whether there may be another attempt."""


@dataclass(frozen=True, slots=True)
class LookForManifest:
    """The worker is done: the manifest, or its absence, is the result."""

    retry: bool
    """Whether there may be another attempt if there is none."""


@dataclass(frozen=True, slots=True)
class StopJob:
    """Delete the Job; its collector then writes a manifest of what it has."""


@dataclass(frozen=True, slots=True)
class Seal:
    """Check the manifest against the order and the objects, sign it, finish."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End in `Failed`."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Release:
    """Delete what is left of the children and remove the finalizer."""


@dataclass(frozen=True, slots=True)
class Expire:
    """Delete the checkpoint: its time to live is over."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to do, or not before `until`."""

    until: datetime | None = None


Step = (
    Protect
    | LookAtPod
    | Dispatch
    | Follow
    | Abandon
    | LookForManifest
    | StopJob
    | Seal
    | GiveUp
    | Release
    | Expire
    | Rest
)


def reconcile(observed: Observed, settings: Settings) -> Step:
    """Return the next step for a checkpoint."""
    checkpoint = observed.checkpoint
    if checkpoint.metadata.deletion_timestamp:
        return _leave(observed)
    if checkpoint.finished:
        return _finished(observed)
    if FINALIZER not in checkpoint.metadata.finalizers:
        return Protect()
    phase = checkpoint.status.phase
    if overdue(observed, settings):
        return GiveUp("DeadlineExceeded", _OVERDUE[phase or Phase.PENDING])
    if phase is Phase.SEALING:
        return Seal()
    if phase is Phase.CAPTURING:
        return _capturing(observed, settings)
    return _pending(observed, settings)


def _pending(observed: Observed, settings: Settings) -> Step:
    checkpoint = observed.checkpoint
    if checkpoint.spec.cancel:
        return GiveUp("Cancelled", "Cancelled before anything was captured.")
    waits = checkpoint.status.node and observed.busy >= settings.captures_per_node
    if waits and observed.gathered:
        return Rest(until=_last_moment(checkpoint, settings))
    return LookAtPod(attempt=checkpoint.status.attempt + 1)


_OVERDUE = {
    Phase.PENDING: "The capture could not begin before its deadline: see why it waited.",
    Phase.CAPTURING: "The capture's deadline is long over, and nothing tells how it ended.",
    Phase.SEALING: "The evidence could not be sealed within a day of its deadline.",
}


def overdue(observed: Observed, settings: Settings) -> bool:
    """Whether a checkpoint has hung for so long in its phase that it has to end: in every phase."""
    end = _last_moment(observed.checkpoint, settings)
    return end is not None and observed.now >= end


def _last_moment(checkpoint: PodCheckpoint, settings: Settings) -> datetime | None:
    """Return when a checkpoint is overdue; None for one that nobody has looked at yet."""
    status = checkpoint.status
    if status.phase is Phase.SEALING and status.deadline is not None:
        return status.deadline + SEAL_OVERDUE
    if status.phase is Phase.CAPTURING and status.deadline is not None:
        starting = timedelta(seconds=settings.collector.start_seconds)
        return status.deadline + starting + OVERDUE
    if status.start_time is None:
        return None
    return status.start_time + timedelta(seconds=checkpoint.spec.active_deadline_seconds) + OVERDUE


def _capturing(observed: Observed, settings: Settings) -> Step:
    checkpoint = observed.checkpoint
    if checkpoint.spec.cancel:
        return _cancelling(observed)
    without_children = observed.job is None and observed.worker is None
    if without_children and not _has_spoken(checkpoint):
        return Dispatch()
    if without_children or _over(observed):
        return LookForManifest(retry=may_try_again(observed, settings))
    if observed.worker is None and observed.job is not None and job_finished(observed.job):
        return Rest(until=_ended_at(observed.job, observed.now) + SILENCE)
    start_by = _start_by(observed, settings)
    never = observed.worker is not None and hopeless(observed.worker)
    if start_by is not None and (never or observed.now >= start_by):
        return Abandon(retry=may_try_again(observed, settings))
    return Follow(until=_next_look(observed, start_by))


def _start_by(observed: Observed, settings: Settings) -> datetime | None:
    """Return when a worker has to have started, or None if it has."""
    made = made_at(observed.job)
    if made is None or (observed.worker is not None and started(observed.worker)):
        return None
    return made + timedelta(seconds=settings.collector.start_seconds)


def _next_look(observed: Observed, start_by: datetime | None) -> datetime | None:
    """Return when there is something to do about a worker though nobody says anything."""
    moments = [_given_up_at(observed.worker), start_by]
    made = made_at(observed.job)
    if start_by is not None and made is not None and observed.now < made + PATIENCE:
        moments.append(made + PATIENCE)
    return min((moment for moment in moments if moment is not None), default=None)


def made_at(job: Object | None) -> datetime | None:
    """Return when a Job was made, if there is one and it says so."""
    made = (job or {}).get("metadata", {}).get("creationTimestamp")
    return datetime.fromisoformat(made) if made else None


def may_try_again(observed: Observed, settings: Settings) -> bool:
    """Whether another attempt is allowed after the current one, and has any time left."""
    checkpoint = observed.checkpoint
    if checkpoint.spec.cancel or checkpoint.status.attempt >= settings.max_attempts:
        return False
    deadline = checkpoint.status.deadline
    return deadline is None or deadline - observed.now >= LEAST_TIME


def _has_spoken(checkpoint: PodCheckpoint) -> bool:
    """Whether the current attempt's worker has stored something.

    Then a Job that is not there was taken away, and to make it again would be to capture twice.
    """
    progress = checkpoint.status.progress
    return progress is not None and progress.artifacts_done > 0


def _given_up_at(worker: Object | None) -> datetime | None:
    """Return when to stop waiting for a pod that is being deleted, or None if it is not.

    On a node that is cut off nobody ever says that it ended.
    """
    deadline = (worker or {}).get("metadata", {}).get("deletionTimestamp")
    return datetime.fromisoformat(deadline) + SILENCE if deadline else None


def _lost(observed: Observed) -> bool:
    until = _given_up_at(observed.worker)
    return until is not None and observed.now >= until


def _cancelling(observed: Observed) -> Step:
    """Stop the Job, wait for the collector to end, then take what it left."""
    job, worker = observed.job, observed.worker
    running = worker is not None and terminated(worker) is None
    if job is not None and not job_finished(job) and not job["metadata"].get("deletionTimestamp"):
        return StopJob()
    if running and not _lost(observed):
        return Follow(until=_given_up_at(worker))
    return LookForManifest(retry=False)


def _over(observed: Observed) -> bool:
    """Whether the worker has ended, by its own word or its Job's."""
    if observed.worker is not None and (terminated(observed.worker) or _lost(observed)):
        return True
    if observed.worker is not None and observed.worker.get("status", {}).get("phase") == "Failed":
        return True
    if observed.job is None or observed.worker is not None:
        # Either its pod is still there without it, or has yet to say how it ended.
        return False
    ended = _ended_at(observed.job, observed.now)
    return job_finished(observed.job) and observed.now > ended + SILENCE


def _ended_at(job: Object, now: datetime) -> datetime:
    """Return when a Job came to its end, as far as it says."""
    ended = [
        datetime.fromisoformat(condition["lastTransitionTime"])
        for condition in job.get("status", {}).get("conditions") or []
        if condition.get("type") in {"Complete", "Failed"} and condition.get("lastTransitionTime")
    ]
    return max(ended, default=now)


def _leave(observed: Observed) -> Step:
    """The resource is being deleted: what is captured is sealed, and no child goes on unseen."""
    checkpoint = observed.checkpoint
    if FINALIZER not in checkpoint.metadata.finalizers:
        return Rest()
    asked = checkpoint.metadata.deletion_timestamp or observed.now
    if checkpoint.status.phase is Phase.SEALING and observed.now < asked + DELETION_WAIT:
        return Seal()
    job, worker = observed.job, observed.worker
    if job is not None and not job["metadata"].get("deletionTimestamp"):
        return StopJob()
    if worker is not None and terminated(worker) is None and observed.now < asked + DELETION_WAIT:
        return Rest(until=asked + DELETION_WAIT)
    return Release()


def _finished(observed: Observed) -> Step:
    checkpoint = observed.checkpoint
    lifetime = checkpoint.spec.ttl_seconds_after_finished
    if lifetime is None or checkpoint.status.completion_time is None:
        return Rest()
    end = checkpoint.status.completion_time + timedelta(seconds=lifetime)
    return Expire() if observed.now >= end else Rest(until=end)
