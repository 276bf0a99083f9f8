"""A cluster and a bundle store in memory, for the real decisions and the real actions.

Every effect is one write, after which the operator may die. What the operator sees are its real
caches; they lag behind the truth, each kind of object on its own, as separate watches do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from forensics_core.api.findings import FindingsStatus
from forensics_core.api.names import FINALIZER, child_name
from forensics_core.api.order import KubeletCheckpoint, WorkOrder
from forensics_core.api.podcheckpoint import Phase, PodCheckpoint, PodCheckpointStatus, Progress
from forensics_core.api.urgency import urgency_of
from forensics_core.bundle.manifest import Container
from forensics_core.errors import ClusterError, Conflict, DestinationUnreachable, ForensicsError
from forensics_core.kube.objects import Object
from forensics_core.operator.actions import StoredContext
from forensics_core.operator.attempt.jobs import build_job, build_thaw_job, thaw_name
from forensics_core.operator.attempt.order import build_secret
from forensics_core.operator.attempt.pods import JobOutcome
from forensics_core.operator.controller import reconcile
from forensics_core.operator.evidence.manifest import BundleFacts
from forensics_core.operator.observed import (
    Absent,
    Contradicting,
    Foreign,
    ForeignObject,
    Good,
    Interrupted,
    Look,
    Observed,
    ObservedDestination,
    ObservedManifest,
    ObservedPod,
    ObservedSeal,
    OrderLost,
    StoredOrder,
    Unchecked,
    Unreachable,
    Unreadable,
)
from forensics_core.operator.settings import Settings
from forensics_core.operator.shared.cache import Cache, name_of
from forensics_core.readers.findings.small_documents import NO_DOCUMENTS, SmallDocuments
from tests.unit.operator import samples
from tests.unit.operator.pods import SURROUNDINGS, PodWorld
from tests.unit.operator.samples import NOW, Document

MAX_ATTEMPTS = 3
NAMES = ("plain", "paused")
"""Two checkpoints, of two pods of one node, on which there is a place for one."""
UIDS = {name: f"{number}df8120f-4366-40b4-be47-20a1c48277c4" for number, name in enumerate(NAMES)}


class Killed(Exception):
    """The operator is dead."""


@dataclass
class Bundle:
    """What lies at a location."""

    foreign: bool = False
    """Whether somebody else has written there before the operator did."""
    collector: Collector | None = None
    """Whose it is: who stores the first object has the name."""
    kind: str = ""
    """Of its manifest: `good`, `interrupted`, `contradicting`, `unreadable`; empty without one."""
    gaps: int = 0
    seal: ObservedSeal = ObservedSeal.ABSENT
    forged: bool = False
    """Whether the manifest was replaced by another."""

    @property
    def valid(self) -> bool:
        """Whether it would stand the comparison."""
        return self.kind in {"good", "interrupted"}


@dataclass(eq=False)
class Collector:
    """An attempt's Job and its pod, as they are."""

    key: str
    attempt: int
    order: WorkOrder
    job: Document
    job_there: bool = True
    job_over: str = ""
    """`Complete` or `Failed` once its Job is over."""
    started: bool = False
    stored: int = 0
    """Artifacts; what it says of its progress."""
    ended: int | None = None
    """The exit code."""
    ended_at: datetime = NOW
    pod_there: bool = True
    told_to_end: datetime | None = None

    @property
    def alive(self) -> bool:
        """Whether it runs, or may start to."""
        return self.ended is None

    @property
    def starts(self) -> bool:
        """Whether it runs, or will if nothing comes in between."""
        return self.alive and (self.started or self.told_to_end is None)

    @property
    def location(self) -> str:
        """Return where its bundle lies."""
        return f"{self.order.destination}/{self.order.bundle}/"

    def end(self, code: int, now: datetime) -> None:
        """End it; its Job notices later."""
        self.ended, self.ended_at = code, now

    def job_object(self) -> Document:
        """Return the Job as the API shows it."""
        over = samples.job(self.job_over, at=self.ended_at)["status"]
        return {"metadata": self.job["metadata"], "status": over}

    def pod_object(self) -> Document:
        """Return the pod as the API shows it."""
        state: Document = {"running": {}} if self.started else {"waiting": {}}
        pod = samples.collector_pod(
            state if self.ended is None else samples.ended(self.ended, "Error")
        )
        name = self.job["metadata"]["name"]
        labels = self.job["metadata"]["labels"] | {"batch.kubernetes.io/job-name": name}
        pod["metadata"] |= {"name": f"{name}-x", "uid": f"pod-{id(self)}", "labels": labels}
        if self.told_to_end:
            pod["metadata"]["deletionTimestamp"] = self.told_to_end.isoformat()
        return pod


@dataclass
class World:
    """The truth, and the operator's view of it."""

    settings: Settings
    time: datetime = NOW
    checkpoints: dict[str, PodCheckpoint] = field(default_factory=dict)
    pods: dict[str, str | None] = field(default_factory=dict)
    """UIDs of the pods to capture, by checkpoint; None for those that are gone."""
    pods_ready: bool = True
    node_ready: bool = True
    collectors: list[Collector] = field(default_factory=list)
    orders: dict[str, StoredOrder] = field(default_factory=dict)
    """By the name of the Secret."""
    thawed: set[str] = field(default_factory=set)
    bundles: dict[str, Bundle] = field(default_factory=dict)
    """By location."""
    away: bool = False
    """Whether the store does not answer."""
    key: bool = True
    """Whether there is a key to seal with."""
    cache: Cache = field(default_factory=Cache)
    stored: set[str] = field(default_factory=set)
    """Locations of which the operator remembers that it has stored the context."""
    compared: set[str] = field(default_factory=set)
    """Locations whose manifest was compared with its order."""
    effects: int = 0
    """Writes since the operator began its step."""
    survives: int = 0
    containers: tuple[Container, ...] = ()
    """What manifests say of containers."""
    documents: SmallDocuments = NO_DOCUMENTS
    """What of each bundle is small."""
    findings: FindingsStatus | None = None
    """What rules find in it, None if nobody can tell."""
    looked: int = 0
    """How often they looked."""
    written: int = 0
    """Writes altogether."""
    spec: Document = field(default_factory=dict)
    """What all checkpoints ask for besides."""
    refuses: type[ForensicsError] | None = None
    """What the cluster answers to whatever is done about a pod."""

    def __post_init__(self) -> None:
        for name, uid in UIDS.items():
            self.pods[f"forensics-system/{name}"] = f"pod-{uid}"
            metadata = {"name": name, "uid": uid, "finalizers": [], "resourceVersion": "1"}
            spec = {"pod": name, "pause": name == "paused"} | self.spec
            one = samples.checkpoint(metadata=metadata, spec=spec)
            self.checkpoints[name_of(one)] = one
        self.containment = PodWorld(self)
        self.restart()

    # The operator

    def operate(self, key: str, survives: int) -> None:
        """Reconcile once; the operator dies after so many writes, and the next one lists anew."""
        self.effects, self.survives = 0, survives
        try:
            _run(reconcile(key, self, self))
        except (ClusterError, DestinationUnreachable, ForeignObject):
            return
        except Killed:
            self.restart()

    def restart(self) -> None:
        """Begin with caches that know all there is, and no memory."""
        self.cache, self.stored = Cache(), set()
        self.see("checkpoints", "jobs", "pods")

    def see(self, *kinds: str) -> None:
        """Let the watches of some kinds of objects catch up."""
        if "checkpoints" in kinds:
            for name in NAMES:
                self._see_checkpoint(f"forensics-system/{name}")
        for one in self.collectors:
            if "jobs" in kinds:
                put_or_drop = self.cache.put_job if one.job_there else self.cache.drop_job
                put_or_drop(one.job_object())
            if "pods" in kinds:
                heard = (
                    self.cache.put_collector_pod if one.pod_there else self.cache.drop_collector_pod
                )
                heard(one.pod_object())
        if "jobs" in kinds:
            self._see_thaw_jobs()

    def _see_checkpoint(self, key: str) -> None:
        there, known = self.checkpoints.get(key), self.cache.checkpoint(key)
        if there is not None:
            self.cache.put(there)
        elif known is not None:
            self.cache.drop(known)

    def _see_thaw_jobs(self) -> None:
        for one in self.checkpoints.values():
            if thaw_name(one) in self.thawed:
                self.cache.put_job(build_thaw_job(one, (), self.settings.collector))

    def at_hand(self, key: str) -> Observed | None:
        """Return what the caches say."""
        seen = self.cache.checkpoint(key)
        if seen is None:
            return None
        return self._counted(
            Observed(
                seen,
                self.time,
                self.cache.job(seen),
                self.cache.collector_pod(seen),
                progress=self._progress(seen),
                context_stored=seen.status.location in self.stored,
                thawed=self.cache.job_named(seen, thaw_name(seen)) is not None,
            )
        )

    def _progress(self, seen: PodCheckpoint) -> Progress | None:
        said = [one.stored for one in self.of(name_of(seen)) if one.alive and one.started]
        return Progress(artifacts_done=said[-1]) if said else None

    def _counted(self, observed: Observed) -> Observed:
        checkpoint = observed.checkpoint
        return replace(
            observed,
            busy=self.cache.busy(checkpoint, "node1"),
            line=self.cache.line(checkpoint, "node1", ()),
            waiting=self.cache.waiting(checkpoint),
        )

    async def look(self, look: Look, observed: Observed, held: AsyncExitStack) -> Observed:
        """Look at the truth."""
        looks: dict[Look, Callable[[Observed], Document]] = {
            Look.POD: self._look_at_pod,
            Look.SURROUNDINGS: lambda _: {"surroundings": SURROUNDINGS},
            Look.DESTINATION: lambda _: {"destination": self._away() or ObservedDestination()},
            Look.ORDER: lambda it: {"order": self._order(it.checkpoint, None)},
            Look.MANIFEST: self._look_at_manifest,
            Look.SEAL: lambda it: {"seal": self.bundles[it.checkpoint.status.location].seal},
            Look.SIGNING_KEY: lambda _: {"signing_key": self.key},
            Look.DELAY: self._look_at_job,
            Look.BUNDLES: self._look_at_bundles,
        }
        return self._counted(replace(observed, **looks[look](observed)))

    def _away(self) -> Unreachable | None:
        return Unreachable(DestinationUnreachable("away")) if self.away else None

    def _look_at_pod(self, observed: Observed) -> Document:
        uid = self.pods[name_of(observed.checkpoint)]
        if uid is None:
            return {"pod": ObservedPod(None)}
        status: Document = {} if self.pods_ready else {"containerStatuses": []}
        pod = samples.pod(metadata={"uid": uid}, status=status)
        self.cache.look(observed.checkpoint, urgency_of(pod), self.time)
        pod["metadata"] |= self.containment.metadata(name_of(observed.checkpoint))
        node = samples.node()
        ready = {"type": "Ready", "status": str(self.node_ready)}
        node["status"]["conditions"] = [ready]
        return {"pod": ObservedPod(pod, node)}

    def _look_at_job(self, observed: Observed) -> Document:
        assert observed.job is not None
        name = observed.job["metadata"]["name"]
        if not any(
            one.job_there and one.job["metadata"]["name"] == name for one in self.collectors
        ):
            self.cache.drop_job(observed.job)
            return {"job": None}
        return {"delay": JobOutcome("NoWorker", "m", retry=True)}

    def _look_at_manifest(self, observed: Observed) -> Document:
        status = observed.checkpoint.status
        order = self._order(observed.checkpoint, None)
        wanted = status.manifest_sha256 if status.phase is Phase.SEALING else ""
        return {"order": order, "manifest": self._away() or self._manifest(order, status, wanted)}

    def _manifest(
        self, order: StoredOrder | OrderLost, status: PodCheckpointStatus, wanted: str
    ) -> ObservedManifest:
        bundle = self.bundles.get(status.location, Bundle())
        if not bundle.kind:
            return Absent()
        if bundle.kind == "unreadable":
            return Unreadable("m")
        evidence = self._evidence(status.location, bundle)
        if isinstance(order, OrderLost):
            return Unchecked(evidence, b"m")
        if wanted and wanted != evidence.manifest_sha256:
            return Foreign()
        if bundle.kind == "contradicting":
            return Contradicting(("it lies",))
        self.compared.add(status.location)
        return (Interrupted if bundle.kind == "interrupted" else Good)(evidence, b"m")

    def _evidence(self, location: str, bundle: Bundle) -> BundleFacts:
        assert bundle.collector is not None
        digest = hashlib.sha256(f"{location}{bundle.forged}".encode()).hexdigest()
        collector = bundle.collector
        interrupted = bundle.kind == "interrupted"
        uid = str(collector.order.uid)
        return BundleFacts(
            uid,
            collector.attempt,
            location,
            digest,
            containers=self.containers,
            gaps=bundle.gaps,
            gap_reason="Interrupted" if interrupted else "",
            interrupted=interrupted,
            documents=self.documents,
        )

    def _look_at_bundles(self, observed: Observed) -> Document:
        if self.away:
            return {"bundles": self._away()}
        last = observed.checkpoint.status.attempt - (observed.manifest is not None)
        found = []
        for attempt in range(last, 0, -1):
            order = self._order(observed.checkpoint, attempt)
            location = _location(order)
            if location in self.bundles and self.bundles[location].valid:
                self.compared.add(location)
                found.append(self._evidence(location, self.bundles[location]))
        return {"bundles": tuple(found)}

    def _order(self, checkpoint: PodCheckpoint, attempt: int | None) -> StoredOrder | OrderLost:
        attempt = checkpoint.status.attempt if attempt is None else attempt
        return self.orders.get(_child(checkpoint, attempt), OrderLost())

    # Its effects

    def now(self) -> datetime:
        """Return the time."""
        return self.time

    def note_write(self) -> None:
        """Note a write; the operator may not live to see it answered."""
        self.effects += 1
        self.written += 1
        if self.effects >= self.survives:
            raise Killed

    async def write_status(
        self, checkpoint: PodCheckpoint, status: PodCheckpointStatus
    ) -> PodCheckpoint:
        """Write a status, as seen from `checkpoint`."""
        return self._edit_seen(checkpoint, lambda it: it.model_copy(update={"status": status}))

    def _edit_seen(
        self, seen: PodCheckpoint, change: Callable[[PodCheckpoint], PodCheckpoint]
    ) -> PodCheckpoint:
        key = name_of(seen)
        current = self.checkpoints.get(key)
        if current is None or current.metadata.resource_version != seen.metadata.resource_version:
            raise Conflict("it has moved on")
        written = self.edit(key, change)
        self.note_write()
        self._see_checkpoint(key)
        return written

    async def add_finalizer(self, checkpoint: PodCheckpoint) -> None:
        """Add it."""
        self._edit_seen(checkpoint, lambda it: _finalizers(it, FINALIZER))

    async def remove_finalizer(self, checkpoint: PodCheckpoint) -> None:
        """Remove it."""
        self._edit_seen(checkpoint, _finalizers)

    async def delete_checkpoint(self, checkpoint: PodCheckpoint) -> None:
        """Ask for its deletion."""
        self.delete(name_of(checkpoint))
        self.note_write()

    async def store_context(self, checkpoint: PodCheckpoint, pod: Object) -> StoredContext:
        """Store the context, unless somebody else was there."""
        location = checkpoint.status.location
        if self.away:
            raise DestinationUnreachable("away")
        if self.bundles.setdefault(location, Bundle()).foreign:
            raise ForeignObject("somebody was there")
        if location not in self.stored:
            self.note_write()
            self.stored.add(location)
        return StoredContext()

    async def checkpoint_memory(
        self, checkpoint: PodCheckpoint, pod: Object
    ) -> tuple[KubeletCheckpoint, ...]:
        """Ask nobody."""
        return ()

    async def create_order(self, checkpoint: PodCheckpoint, order: WorkOrder) -> WorkOrder:
        """Create it, or adopt it."""
        name = build_secret(checkpoint, order)["metadata"]["name"]
        there = self.orders.setdefault(name, StoredOrder(order, "0" * 64))
        self.note_write()
        return there.order

    async def delete_order(self, checkpoint: PodCheckpoint, attempt: int) -> None:
        """Delete it."""
        self.orders.pop(_child(checkpoint, attempt), None)
        self.note_write()

    async def create_job(self, checkpoint: PodCheckpoint, order: WorkOrder) -> None:
        """Create it, or adopt it; a Job brings a collector."""
        rule = self.settings.destinations[0]
        job = build_job(checkpoint, rule, self.settings.collector, order.active_deadline_seconds)
        job["metadata"]["creationTimestamp"] = self.time.isoformat()
        name, key = job["metadata"]["name"], name_of(checkpoint)
        there = [one for one in self.of(key) if one.job["metadata"]["name"] == name]
        if not any(one.job_there for one in there):
            ordered = self.orders[name].order
            self.collectors.append(Collector(key, checkpoint.status.attempt, ordered, job))
        self.note_write()
        self.cache.put_job(job)

    async def delete_job(self, checkpoint: PodCheckpoint) -> None:
        """Delete it, and its pod in the background."""
        self.stop(checkpoint.status.job_name)
        self.note_write()

    async def create_thaw_job(self, checkpoint: PodCheckpoint, containers: tuple[str, ...]) -> None:
        """Create it."""
        assert containers == ("containerd://abc",)
        self.thawed.add(thaw_name(checkpoint))
        self.note_write()
        self._see_thaw_jobs()

    async def store_seal(self, checkpoint: PodCheckpoint, manifest: bytes) -> None:
        """Seal the bundle."""
        if self.away:
            raise DestinationUnreachable("away")
        self.bundles[checkpoint.status.location].seal = ObservedSeal.OURS
        self.note_write()

    async def find_findings(
        self, checkpoint: PodCheckpoint, documents: SmallDocuments
    ) -> FindingsStatus | None:
        """Look; the bundle has to be captured and sealed by then, if it is going to be."""
        there = self.checkpoints[name_of(checkpoint)]
        assert there.captured
        assert not self.key or self.bundles[there.status.location].seal is ObservedSeal.OURS
        assert documents == self.documents
        self.looked += 1
        return self.findings

    @contextmanager
    def reserve(self, checkpoint: PodCheckpoint, node: str) -> Iterator[None]:
        """Hold a place."""
        self.cache.reserve(name_of(checkpoint), node)
        try:
            yield
        finally:
            self.cache.release(name_of(checkpoint), node)

    def follow(self, checkpoint: PodCheckpoint, collector_pod: Object | None) -> None:
        """Everything is heard anyway."""

    def forget(self, collector_pod: Object | None) -> None:
        """Nothing is remembered."""

    def event(
        self, checkpoint: PodCheckpoint, reason: str, note: str, *, warning: bool = False
    ) -> None:
        """Nobody reads them."""

    def requeue(self, checkpoint: PodCheckpoint, until: datetime) -> None:
        """Fate decides who is looked at."""

    def count_captured(self, checkpoint: PodCheckpoint) -> None:
        """Nobody counts."""

    def count_end(self, checkpoint: PodCheckpoint, reason: str) -> None:
        """Nobody counts."""

    def count_containment(self, checkpoint: PodCheckpoint, what: str, reason: str) -> None:
        """Nobody counts."""

    # Everybody else

    def of(self, key: str) -> list[Collector]:
        """Return every collector that a checkpoint ever had."""
        return [one for one in self.collectors if one.key == key]

    def edit(self, key: str, change: Callable[[PodCheckpoint], PodCheckpoint]) -> PodCheckpoint:
        """Change a checkpoint; it gets another version, and goes with its last finalizer."""
        new = change(self.checkpoints[key])
        version = str(int(new.metadata.resource_version or 0) + 1)
        metadata = new.metadata.model_copy(update={"resource_version": version})
        self.checkpoints[key] = new = new.model_copy(update={"metadata": metadata})
        if metadata.deletion_timestamp and not metadata.finalizers:
            del self.checkpoints[key]
        return new

    def stop(self, job_name: str) -> None:
        """Delete a Job; its pod is told to end."""
        for one in self.collectors:
            if one.job["metadata"]["name"] == job_name:
                one.job_there = False
                one.told_to_end = one.told_to_end or self.time

    def delete(self, key: str) -> None:
        """Ask for a checkpoint's deletion."""
        gone = {"deletion_timestamp": self.time}
        there = self.checkpoints.get(key)
        if there is not None and not there.metadata.deletion_timestamp:
            metadata = there.metadata.model_copy(update=gone)
            self.edit(key, lambda it: it.model_copy(update={"metadata": metadata}))

    def cancel(self, key: str) -> None:
        """Ask for a capture to stop."""
        if key in self.checkpoints:
            spec = self.checkpoints[key].spec.model_copy(update={"cancel": True})
            self.edit(key, lambda it: it.model_copy(update={"spec": spec}))

    def release(self, key: str) -> None:
        """Ask for a pod to be released."""
        if key in self.checkpoints:
            one = self.checkpoints[key]
            spec = one.spec.model_copy(update={"release": True})
            generation = (one.metadata.generation or 0) + (not one.spec.release)
            metadata = one.metadata.model_copy(update={"generation": generation})
            self.edit(key, lambda it: it.model_copy(update={"spec": spec, "metadata": metadata}))

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.time += timedelta(seconds=seconds)

    def store(self, one: Collector, kind: str = "", gaps: int = 0) -> bool:
        """Have a collector store something, a manifest at last; False if its place is taken."""
        bundle = self.bundles.setdefault(one.location, Bundle())
        if bundle.collector not in {None, one}:
            return False
        bundle.collector, bundle.kind, bundle.gaps = one, kind, gaps
        one.stored += 1
        return True


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run what never has to wait for anything."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waited for something")


def _child(checkpoint: PodCheckpoint, attempt: int) -> str:
    return child_name(checkpoint.metadata.name, checkpoint.metadata.uid or "", attempt)


def _location(order: StoredOrder | OrderLost) -> str:
    return (
        f"{order.order.destination}/{order.order.bundle}/" if isinstance(order, StoredOrder) else ""
    )


def _finalizers(checkpoint: PodCheckpoint, *names: str) -> PodCheckpoint:
    metadata = checkpoint.metadata.model_copy(update={"finalizers": names})
    return checkpoint.model_copy(update={"metadata": metadata})
