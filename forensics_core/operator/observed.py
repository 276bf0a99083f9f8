"""What a decision rests on: what the caches say, and what was looked at because it was asked for.

What costs a request is None until somebody looked; `decide` names the `Look` that it needs.
An error is an observation, too, wherever a decision depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from forensics_core.api.order import WorkOrder
from forensics_core.api.podcheckpoint import Phase, PodCheckpoint, Progress
from forensics_core.api.urgency import Urgency, WaitingCapture, urgency_of
from forensics_core.errors import ClusterError, DestinationError, ForensicsError
from forensics_core.kube.objects import Object
from forensics_core.operator.attempt.pods import (
    JobOutcome,
    created_at,
    delay,
    ended_at,
    gone_at,
    is_being_deleted,
    job_finished,
    started,
    terminated,
)
from forensics_core.operator.containment.enforcement import NamespaceSurroundings
from forensics_core.operator.evidence.manifest import BundleFacts
from forensics_core.operator.settings import Settings


class ForeignObject(DestinationError):
    """Something lies where only the operator should have written."""


class NameTaken(ClusterError):
    """Somebody else's object bears the name that one of ours has to have."""


class Look(Enum):
    """What can be looked at; each is a request or several."""

    POD = auto()
    """The pod to capture, and its node."""
    DESTINATION = auto()
    """Whether the destination lies inside somebody's bundle."""
    ORDER = auto()
    """The current attempt's work order."""
    MANIFEST = auto()
    """The current attempt's manifest, compared with the order and with what is stored."""
    SEAL = auto()
    """Whether a seal of ours lies beside that manifest."""
    SIGNING_KEY = auto()
    """Whether there is a key to seal with."""
    DELAY = auto()
    """Why the current attempt's Job has made no pod; or that there is no such Job."""
    SURROUNDINGS = auto()
    """What selects the pod, and whether network policies are enforced."""
    BUNDLES = auto()
    """What other attempts have stored, and this one if its manifest was not looked at."""


@dataclass(frozen=True, slots=True)
class ObservedPod:
    """The pod to capture and its node, each as it is now; None where it is gone."""

    pod: Object | None
    node: Object | None = None


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """A work order, and the SHA-256 of its bytes."""

    order: WorkOrder
    sha256: str


@dataclass(frozen=True, slots=True)
class OrderLost:
    """There is no work order, or nothing legible in its place."""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The destination did not answer, or refused: nobody can tell now."""

    error: ForensicsError


@dataclass(frozen=True, slots=True)
class ObservedDestination:
    """The destination answered."""

    inside_bundle: bool = False


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no manifest: the bundle is unfinished."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What lies in the manifest's place is none."""

    message: str


@dataclass(frozen=True, slots=True)
class Foreign:
    """It is not the manifest that was found first."""


@dataclass(frozen=True, slots=True)
class Contradicting:
    """It is not what was ordered, or what is stored is not what it says."""

    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Without its order nobody can tell whether it is what was ordered."""

    evidence: BundleFacts
    manifest: bytes


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Its collector was told to end before it had everything; it holds if it has no differences."""

    evidence: BundleFacts
    manifest: bytes = b""
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Good:
    """It is what was ordered, and everything that it names is stored."""

    evidence: BundleFacts
    manifest: bytes = b""


ObservedManifest = (
    Absent | Unreadable | Foreign | Contradicting | Unchecked | Interrupted | Good | Unreachable
)


class ObservedSeal(Enum):
    """What lies in the seal's place."""

    ABSENT = auto()
    OURS = auto()
    FOREIGN = auto()


@dataclass(frozen=True, slots=True)
class Failure:
    """What an action met just now: the next decision may depend on it."""

    action: object
    error: ForensicsError


@dataclass(frozen=True, slots=True)
class Observed:
    """One checkpoint and everything about it; what the caches say may be behind."""

    checkpoint: PodCheckpoint
    now: datetime
    job: Object | None = None
    """The current attempt's Job."""
    collector_pod: Object | None = None
    """That Job's pod."""
    progress: Progress | None = None
    """What that pod last said of its progress."""
    said_end: bool = False
    """Whether that pod has said that it ends, which is worth one look at its manifest."""
    busy: int = 0
    """Other captures that are under way on the pod's node."""
    line: tuple[WaitingCapture, ...] = ()
    """Others that wait for a place there."""
    waiting: WaitingCapture | None = None
    """The checkpoint itself in that line, as far as it was looked at."""
    context_stored: bool = False
    """Whether the context of the attempt that waits is known to be stored."""
    thawed: bool = False
    """Whether there is a Job that resumes what the current attempt may have left paused."""
    failure: Failure | None = None

    pod: ObservedPod | None = None
    surroundings: NamespaceSurroundings | None = None
    destination: ObservedDestination | Unreachable | None = None
    order: StoredOrder | OrderLost | None = None
    manifest: ObservedManifest | None = None
    seal: ObservedSeal | None = None
    signing_key: bool | None = None
    delay: JobOutcome | None = None
    bundles: tuple[BundleFacts, ...] | Unreachable | None = None

    @property
    def own_wait(self) -> WaitingCapture:
        """The checkpoint as one that waits, as urgent as its pod is known to be now."""
        metadata = self.checkpoint.metadata
        if self.pod is not None and self.pod.pod is not None:
            urgency: Urgency | None = urgency_of(self.pod.pod)
        else:
            urgency = self.waiting.urgency if self.waiting else None
        return WaitingCapture(metadata.uid or "", metadata.creation_timestamp or self.now, urgency)

    @property
    def own(self) -> tuple[BundleFacts, ...]:
        """What the current attempt has stored that can be taken, if its manifest was looked at."""
        match self.manifest:
            case Good(evidence) | Interrupted(evidence, differences=()):
                return (evidence,)
            case _:
                return ()

    def overdue(self, settings: Settings) -> bool:
        """Whether the checkpoint has hung for so long in its phase, whichever, that it must end."""
        end = self.last_moment(settings)
        return end is not None and self.now >= end

    def last_moment(self, settings: Settings) -> datetime | None:
        """Return when the checkpoint is overdue; None for one that nobody has looked at yet."""
        status, timings = self.checkpoint.status, settings.timings
        if status.phase is Phase.SEALING and status.deadline is not None:
            return status.deadline + timings.seal_overdue
        if status.phase is Phase.CAPTURING and status.deadline is not None:
            starting = timedelta(seconds=settings.collector.start_seconds)
            return status.deadline + starting + timings.overdue
        if status.start_time is None:
            return None
        whole = timedelta(seconds=self.checkpoint.spec.active_deadline_seconds)
        return status.start_time + whole + timings.overdue

    def may_try_again(self, settings: Settings) -> bool:
        """Whether another attempt is allowed after the current one, and has any time left."""
        status = self.checkpoint.status
        if self.checkpoint.spec.cancel or status.attempt >= settings.max_attempts:
            return False
        left = status.deadline - self.now if status.deadline else timedelta.max
        return left >= settings.timings.least_attempt

    @property
    def news(self) -> Progress | None:
        """What the collector last said of its progress, unless that was told."""
        return self.progress if self.progress != self.checkpoint.status.progress else None

    @property
    def has_stored(self) -> bool:
        """Whether the current attempt's collector has stored something.

        Then a Job that is not there was taken away, and to make it again would be to capture twice.
        """
        progress = self.checkpoint.status.progress
        return progress is not None and progress.artifacts_done > 0

    @property
    def may_run(self) -> bool:
        """Whether the current attempt's Job may still start a collector, or has one."""
        if self.job is None or job_finished(self.job) or is_being_deleted(self.job):
            return False
        return self.collector_pod is None or terminated(self.collector_pod) is None

    def worker_over(self, settings: Settings) -> bool:
        """Whether the collector has ended, by its own word or its Job's."""
        if self.collector_pod is not None:
            failed = self.collector_pod.get("status", {}).get("phase") == "Failed"
            return bool(failed or terminated(self.collector_pod) or self.lost(settings))
        if self.job is None or not job_finished(self.job):
            return False
        # Its pod may have yet to say how it ended.
        return self.now > ended_at(self.job, self.now) + settings.timings.silence

    def lost_at(self, settings: Settings) -> datetime | None:
        """Return when to stop waiting for a pod that is being deleted, or None if it is not.

        On a node that is cut off nobody ever says that it ended.
        """
        gone = gone_at(self.collector_pod)
        return gone + settings.timings.silence if gone else None

    def lost(self, settings: Settings) -> bool:
        """Whether a pod that is being deleted has been waited for long enough."""
        until = self.lost_at(settings)
        return until is not None and self.now >= until

    def start_by(self, settings: Settings) -> datetime | None:
        """Return when the collector has to have started, or None if it has."""
        made = created_at(self.job)
        if made is None or (self.collector_pod is not None and started(self.collector_pod)):
            return None
        by = made + timedelta(seconds=settings.collector.start_seconds)
        if not self.waits_for_room:
            return by
        return max(by, self.now + settings.timings.look_again)

    @property
    def waits_for_room(self) -> bool:
        """Whether the collector's pod finds no room on its node while others are captured there.

        It finds some once their collectors have ended: another attempt would fare no better.
        """
        if self.collector_pod is None or not self.busy:
            return False
        return delay(self.collector_pod, self.checkpoint.status.node).reason == "Unschedulable"

    def late_at(self, settings: Settings) -> datetime | None:
        """Return from when on it is worth a word that the collector has not started."""
        made = created_at(self.job)
        return made + settings.timings.late_start if made else None
