"""What can be done about a checkpoint next, as data, and the effects that this has.

`decide` chooses an action, `act` carries it out by means of `Effects`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from forensics_core.api.findings import FindingsStatus
from forensics_core.api.order import ContextFile, KubeletCheckpoint, WorkOrder
from forensics_core.api.podcheckpoint import PodCheckpoint, PodCheckpointStatus, Progress
from forensics_core.errors import ForensicsError
from forensics_core.kube.objects import Object
from forensics_core.operator.containment.actions import ContainmentAction, ContainmentEffects
from forensics_core.operator.evidence.manifest import BundleFacts
from forensics_core.operator.settings import Settings
from forensics_core.readers.findings.small_documents import SmallDocuments


@dataclass(frozen=True, slots=True)
class AttemptOver:
    """What is left to do about an attempt that is over, before anything else follows."""

    stop_job: bool = False
    """Whether its Job may still start a collector, or has one."""
    why: str = ""
    """Why it failed, where another attempt follows."""


NO_ATTEMPT = AttemptOver()


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    """Add the finalizer, so that a deletion can be tidied up after."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Say what is waited for, and store meanwhile what may be gone by then."""

    attempt: int
    """The one that waits."""
    pod: Object
    reason: str
    message: str
    node: str = ""
    """The node of which a place is waited for."""
    store_context: bool = False
    until: datetime | None = None
    """When to look again though nobody says anything."""
    error: ForensicsError | None = None
    """What is in the way: it is tried again less and less often."""
    over: AttemptOver = NO_ATTEMPT


@dataclass(frozen=True, slots=True)
class StartAttempt:
    """Begin an attempt: take its place, store the context, write the order, make the Job."""

    attempt: int
    pod: Object
    over: AttemptOver = NO_ATTEMPT
    isolate: bool = False
    """Whether the pod is isolated first: then the Job is made after that."""


@dataclass(frozen=True, slots=True)
class ResumeAttempt:
    """Go on with an attempt that has begun and has no order yet: context, order, Job."""

    pod: Object
    isolate: bool = False


@dataclass(frozen=True, slots=True)
class CreateJob:
    """Make the Job of an attempt whose order is written."""

    order: WorkOrder


@dataclass(frozen=True, slots=True)
class Monitor:
    """A collector is at it: follow what it says, and look again at `until`."""

    until: datetime | None = None
    progress: Progress | None = None
    """To be told, if it is news."""


@dataclass(frozen=True, slots=True)
class ReportDelay:
    """Say why a collector has not started."""

    reason: str
    message: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class StopJob:
    """Delete the Job; its collector then writes a manifest of what it has."""


@dataclass(frozen=True, slots=True)
class Thaw:
    """Resume the containers that an attempt without a manifest may have left paused."""

    containers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Relocate:
    """Take another location for the attempt: somebody else has written at this one."""

    error: ForensicsError


@dataclass(frozen=True, slots=True)
class StepBack:
    """Give the attempt's place on its node to others while the destination is away."""

    error: ForensicsError


@dataclass(frozen=True, slots=True)
class BackOff:
    """Try again later, less and less often."""

    error: ForensicsError


@dataclass(frozen=True, slots=True)
class SetCaptured:
    """Take the bundle of this or an earlier attempt: the pod may go. What follows is sealing."""

    evidence: BundleFacts
    over: AttemptOver = NO_ATTEMPT


@dataclass(frozen=True, slots=True)
class Finish:
    """Say that the pod may go unless that was said, seal the bundle, and end in `Complete`."""

    evidence: BundleFacts
    manifest: bytes
    seal: bool
    """Whether there is a key."""
    findings: bool = False
    """Whether to tell what the rules find, once it is sealed."""


@dataclass(frozen=True, slots=True)
class Fail:
    """End in `Failed`."""

    reason: str
    message: str
    over: AttemptOver = NO_ATTEMPT


@dataclass(frozen=True, slots=True)
class Release:
    """Delete what is left of the children and remove the finalizer."""


@dataclass(frozen=True, slots=True)
class Expire:
    """Delete the checkpoint: its time to live is over."""


@dataclass(frozen=True, slots=True)
class RequeueAfter:
    """Nothing to do until there is news, or before `until`."""

    until: datetime | None = None


Action = (
    AddFinalizer
    | Wait
    | StartAttempt
    | ResumeAttempt
    | CreateJob
    | Monitor
    | ReportDelay
    | StopJob
    | Thaw
    | Relocate
    | StepBack
    | BackOff
    | SetCaptured
    | Finish
    | Fail
    | Release
    | Expire
    | RequeueAfter
    | ContainmentAction
)


@dataclass(frozen=True, slots=True)
class StoredContext:
    """What is stored of an attempt's context, and what could not be gathered."""

    files: tuple[ContextFile, ...] = ()
    gaps: tuple[str, ...] = ()


class Effects(Protocol):
    """What actions do to the cluster and to the bundle; each is safe to do twice."""

    @property
    def containment(self) -> ContainmentEffects:
        """What is done to the pod itself."""
        ...

    @property
    def settings(self) -> Settings:
        """The operator's settings."""
        ...

    def now(self) -> datetime:
        """Return the time."""
        ...

    def reserve(self, checkpoint: PodCheckpoint, node: str) -> AbstractContextManager[None]:
        """Hold a place on a node for the block, before the status says so."""
        ...

    async def write_status(
        self, checkpoint: PodCheckpoint, status: PodCheckpointStatus
    ) -> PodCheckpoint:
        """Write a status. Raises `Conflict` if the checkpoint has moved on, `Invalid`."""
        ...

    async def add_finalizer(self, checkpoint: PodCheckpoint) -> None:
        """Add the operator's finalizer."""
        ...

    async def remove_finalizer(self, checkpoint: PodCheckpoint) -> None:
        """Remove it."""
        ...

    async def delete_checkpoint(self, checkpoint: PodCheckpoint) -> None:
        """Ask for the checkpoint's deletion."""
        ...

    async def store_context(self, checkpoint: PodCheckpoint, pod: Object) -> StoredContext:
        """Gather and store the context of the attempt that waits or begins, unless that is done.

        Raises `DestinationError`.
        """
        ...

    async def checkpoint_memory(
        self, checkpoint: PodCheckpoint, pod: Object
    ) -> tuple[KubeletCheckpoint, ...]:
        """Have the kubelet checkpoint the containers, where memory is asked for and that is set.

        Once for an attempt; raises nothing.
        """
        ...

    async def create_order(self, checkpoint: PodCheckpoint, order: WorkOrder) -> WorkOrder:
        """Create the current attempt's order, and return it as it is.

        Where its credentials last no longer, it has less time. Raises `NameTaken`,
        `DestinationError` if there are no credentials.
        """
        ...

    async def delete_order(self, checkpoint: PodCheckpoint, attempt: int) -> None:
        """Delete an attempt's order, if there is one."""
        ...

    async def create_job(self, checkpoint: PodCheckpoint, order: WorkOrder) -> None:
        """Create the current attempt's Job. Raises `NameTaken`."""
        ...

    async def delete_job(self, checkpoint: PodCheckpoint) -> None:
        """Delete the current attempt's Job, if there is one."""
        ...

    async def create_thaw_job(self, checkpoint: PodCheckpoint, containers: tuple[str, ...]) -> None:
        """Create the Job that resumes containers."""
        ...

    async def store_seal(self, checkpoint: PodCheckpoint, manifest: bytes) -> None:
        """Sign a manifest and store the seal beside it.

        Raises `VerificationError` if somebody else's seal is there.
        """
        ...

    async def find_findings(
        self, checkpoint: PodCheckpoint, documents: SmallDocuments
    ) -> FindingsStatus | None:
        """Return what the rules see in a bundle's small documents, None where nobody can tell now.

        Raises nothing, and takes no longer than the settings say.
        """
        ...

    def follow(self, checkpoint: PodCheckpoint, collector_pod: Object | None) -> None:
        """Follow what a collector says."""
        ...

    def forget(self, collector_pod: Object | None) -> None:
        """Stop following it."""
        ...

    def event(
        self, checkpoint: PodCheckpoint, reason: str, note: str, *, warning: bool = False
    ) -> None:
        """Record an event about a checkpoint, for `kubectl describe`."""
        ...

    def requeue(self, checkpoint: PodCheckpoint, until: datetime) -> None:
        """Have a checkpoint looked at again."""
        ...

    def count_captured(self, checkpoint: PodCheckpoint) -> None:
        """Count evidence that was found, for the metrics."""
        ...

    def count_end(self, checkpoint: PodCheckpoint, reason: str) -> None:
        """Count a checkpoint that came to its end."""
        ...

    def count_containment(self, checkpoint: PodCheckpoint, what: str, reason: str) -> None:
        """Count what became of an isolation or a deletion of the pod: a condition's reason."""
        ...
