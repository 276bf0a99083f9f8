"""A model of the cluster and of what the operator writes, for tests of the decision alone.

Every write of a step is one `yield`, after which the operator may die. What the operator sees is a
view that lags behind the truth, each kind of object on its own, as separate watches do.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from forensics_core.api.names import FINALIZER, child_name
from forensics_core.api.podcheckpoint import PodCheckpoint, PodCheckpointStatus, Progress
from forensics_core.bundle.manifest import Capture, Container, Node, OrderRef, Statement, Tool
from forensics_core.bundle.writer import FinishedBundle
from forensics_core.operator import statuses
from forensics_core.operator.outcomes import outcome
from forensics_core.operator.reconcile import (
    Dispatch,
    Expire,
    Follow,
    GiveUp,
    LookAtPod,
    LookForManifest,
    Observed,
    Protect,
    Release,
    Seal,
    Step,
    StopJob,
)
from forensics_core.storage.destination import StoredObject
from tests.unit.operator import samples
from tests.unit.operator.samples import NOW, UID, Document

MAX_ATTEMPTS = 3
Writes = Generator[None, None, None]


class StaleWrite(Exception):
    """The write rests on a version that is not the current one."""


@dataclass
class Worker:
    """One attempt's Job and its pod, as they are."""

    attempt: int
    job: str = ""
    """`Complete` or `Failed` once the Job is over."""
    job_there: bool = True
    job_over_at: datetime = NOW
    ended: int | None = None
    """The exit code."""
    pod_there: bool = True
    deleted_at: datetime | None = None

    @property
    def alive(self) -> bool:
        """Whether its collector runs."""
        return self.ended is None

    def end(self, code: int, now: datetime) -> None:
        """End the collector; its Job notices later."""
        self.ended = code if self.ended is None else self.ended
        self.job_over_at = now

    def job_object(self) -> Document | None:
        """Return the Job as the API shows it."""
        return samples.job(self.job, at=self.job_over_at) if self.job_there else None

    def pod_object(self) -> Document | None:
        """Return the pod as the API shows it."""
        if not self.pod_there:
            return None
        state = None if self.ended is None else samples.ended(self.ended, "Error")
        pod = samples.worker(state)
        if self.deleted_at:
            pod["metadata"]["deletionTimestamp"] = self.deleted_at.isoformat()
        return pod


@dataclass
class View:
    """What the operator's caches hold."""

    checkpoint: PodCheckpoint | None = None
    jobs: dict[int, Document | None] = field(default_factory=dict)
    pods: dict[int, Document | None] = field(default_factory=dict)


@dataclass
class World:
    """The truth."""

    now: datetime = NOW
    checkpoint: PodCheckpoint | None = field(
        default_factory=lambda: samples.checkpoint(metadata={"finalizers": []})
    )
    pod_uid: str | None = samples.POD_UID
    """Of the pod to capture; None once it is gone."""
    pod_ready: bool = True
    """Whether its containers have been created."""
    workers: dict[int, Worker] = field(default_factory=dict)
    """The latest of each attempt."""
    buried: list[Worker] = field(default_factory=list)
    """Workers whose Job was made a second time."""
    orders: set[int] = field(default_factory=set)
    manifests: set[int] = field(default_factory=set)
    seals: set[int] = field(default_factory=set)
    view: View = field(default_factory=View)

    def everyone(self) -> list[Worker]:
        """Return every worker there ever was."""
        return [*self.workers.values(), *self.buried]

    def see(self, *kinds: str) -> None:
        """Let the operator's view of some kinds of objects catch up."""
        if "checkpoint" in kinds:
            self.view.checkpoint = self.checkpoint
        if "jobs" in kinds:
            self.view.jobs = {number: one.job_object() for number, one in self.workers.items()}
        if "pods" in kinds:
            self.view.pods = {number: one.pod_object() for number, one in self.workers.items()}

    def observe(self) -> Observed | None:
        """Return what the operator decides on, or None if it knows of no checkpoint."""
        seen = self.view.checkpoint
        if seen is None:
            return None
        attempt = seen.status.attempt
        return Observed(
            seen, self.now, self.view.jobs.get(attempt), self.view.pods.get(attempt), busy=0
        )

    def edit(self, change: Callable[[PodCheckpoint], PodCheckpoint]) -> None:
        """Change the checkpoint, as anybody may; it gets another version."""
        if self.checkpoint is None:
            return
        version = str(int(self.checkpoint.metadata.resource_version or 0) + 1)
        new = change(self.checkpoint)
        metadata = new.metadata.model_copy(update={"resource_version": version})
        self.checkpoint = new.model_copy(update={"metadata": metadata})
        if metadata.deletion_timestamp and not metadata.finalizers:
            self.checkpoint = None

    def _edit_seen(
        self, seen: PodCheckpoint, change: Callable[[PodCheckpoint], PodCheckpoint]
    ) -> PodCheckpoint | None:
        """Change it as seen: refused if it has moved on; the answer is seen at once."""
        current = self.checkpoint
        if current is None or current.metadata.resource_version != seen.metadata.resource_version:
            raise StaleWrite
        self.edit(change)
        self.see("checkpoint")
        return self.checkpoint

    def _status(self, seen: PodCheckpoint, status: PodCheckpointStatus) -> PodCheckpoint:
        written = self._edit_seen(seen, lambda it: it.model_copy(update={"status": status}))
        assert written is not None
        return written

    def perform(self, step: Step, observed: Observed) -> Writes:
        """Carry a step out, as the operator does; yields after each write."""
        seen = observed.checkpoint
        match step:
            case Protect():
                self._edit_seen(seen, lambda it: finalizers(it, FINALIZER))
                yield
            case LookAtPod():
                yield from self._look_at_pod(step, seen)
            case Dispatch():
                yield from self._dispatch(seen)
            case Follow():
                yield from self._follow(seen)
            case LookForManifest():
                yield from self._look_for_manifest(step, observed)
            case Seal():
                yield from self._seal(seen)
            case _:
                yield from self._leave_off(step, seen)

    def _leave_off(self, step: Step, seen: PodCheckpoint) -> Writes:
        match step:
            case StopJob():
                self._stop(seen.status.attempt)
                yield
            case GiveUp():
                yield from self._fail(seen, step.reason)
            case Release():
                self.orders.discard(seen.status.attempt)
                yield
                self._edit_seen(seen, finalizers)
                yield
            case Expire():
                self.delete()
                yield

    def _look_at_pod(self, step: LookAtPod, seen: PodCheckpoint) -> Writes:
        pinned = seen.status.pod_uid
        if self.pod_uid is None or pinned not in {"", self.pod_uid}:
            yield from self._fail(seen, "PodGone")
            return
        pod = samples.pod(metadata={"uid": self.pod_uid})
        if not self.pod_ready:
            self._status(seen, statuses.waiting(seen, pod, "PodPending", "", self.now))
            yield
            return
        begun = self._status(
            seen, statuses.begun(seen, pod, "s3://cases", step.attempt, "", self.now)
        )
        yield
        yield from self._start(begun)

    def _start(self, seen: PodCheckpoint) -> Writes:
        self.orders.add(seen.status.attempt)
        yield
        yield from self._create_job(seen.status.attempt)

    def _create_job(self, attempt: int) -> Writes:
        there = self.workers.get(attempt)
        if there is None or not there.job_there:
            if there is not None:
                self.buried.append(there)
            self.workers[attempt] = Worker(attempt)
            self.view.jobs[attempt] = self.workers[attempt].job_object()
        yield

    def _dispatch(self, seen: PodCheckpoint) -> Writes:
        attempt = seen.status.attempt
        if attempt not in self.orders:
            if self.pod_uid != seen.status.pod_uid:
                yield from self._fail(seen, "PodGone")
                return
            yield from self._start(seen)
        elif attempt in self.manifests:
            yield from self._capture(seen)
        else:
            yield from self._create_job(attempt)

    def _follow(self, seen: PodCheckpoint) -> Writes:
        progress = Progress(artifacts_done=1)
        if seen.status.progress != progress:
            self._status(seen, statuses.progressed(seen, progress, self.now))
            yield

    def _look_for_manifest(self, step: LookForManifest, observed: Observed) -> Writes:
        seen = observed.checkpoint
        if seen.status.attempt in self.manifests:
            yield from self._capture(seen)
        elif seen.spec.cancel:
            yield from self._fail(seen, "Cancelled")
        elif step.retry and outcome(observed.job, observed.worker).retry:
            yield from self._look_at_pod(LookAtPod(seen.status.attempt + 1), seen)
        else:
            yield from self._fail(seen, "Error")

    def _capture(self, seen: PodCheckpoint) -> Writes:
        written = self._status(seen, statuses.captured(seen, BUNDLE, self.now))
        yield
        yield from self._seal(written)

    def _seal(self, seen: PodCheckpoint) -> Writes:
        attempt = seen.status.attempt
        if attempt not in self.orders and attempt not in self.seals:
            yield from self._fail(seen, "OrderLost")
            return
        self.seals.add(attempt)
        yield
        self.orders.discard(attempt)
        yield
        capture = BUNDLE.statement.predicate
        self._status(seen, statuses.complete(seen, capture, True, self.now))
        yield

    def _fail(self, seen: PodCheckpoint, reason: str) -> Writes:
        self._status(seen, statuses.failed(seen, reason, "", self.now))
        yield
        self.orders.discard(seen.status.attempt)
        yield

    def _stop(self, attempt: int) -> None:
        worker = self.workers.get(attempt)
        if worker is not None:
            worker.job_there = False
            worker.deleted_at = worker.deleted_at or self.now

    def delete(self) -> None:
        """Ask for the checkpoint's deletion."""
        gone = {"deletion_timestamp": self.now}
        if self.checkpoint and not self.checkpoint.metadata.deletion_timestamp:
            self.edit(
                lambda it: it.model_copy(update={"metadata": it.metadata.model_copy(update=gone)})
            )

    def cancel(self) -> None:
        """Ask for the capture to stop."""
        self.edit(
            lambda it: it.model_copy(update={"spec": it.spec.model_copy(update={"cancel": True})})
        )

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


def finalizers(checkpoint: PodCheckpoint, *names: str) -> PodCheckpoint:
    """Return the checkpoint with these finalizers."""
    metadata = checkpoint.metadata.model_copy(update={"finalizers": names})
    return checkpoint.model_copy(update={"metadata": metadata})


def _bundle() -> FinishedBundle:
    capture = Capture(
        order=OrderRef(
            uid=UUID(UID), attempt=1, sha256="0" * 64, destination="s3://cases", bundle="b"
        ),
        tool=Tool(version="test"),
        node=Node(hostname="node1"),
        started_at=NOW,
        finished_at=NOW,
        containers=(Container(name="app", container_id="containerd://abc"),),
    )
    statement = Statement(subject=(), predicate=capture)
    return FinishedBundle(statement, "0" * 64, StoredObject("manifest.json", 1))


BUNDLE = _bundle()
JOB_NAMES = {number: child_name("checkpoint-1", UID, number) for number in range(1, 4)}
