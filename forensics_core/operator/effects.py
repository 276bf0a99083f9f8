"""The effects of actions on a real cluster and a real store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property

from forensics_core._internal.text import printable
from forensics_core.api.findings import FindingsStatus
from forensics_core.api.names import FINALIZER, child_name
from forensics_core.api.order import ArtifactKind, KubeletCheckpoint, WorkOrder
from forensics_core.api.podcheckpoint import PodCheckpoint, PodCheckpointStatus
from forensics_core.errors import AlreadyExists, UsageError
from forensics_core.kube.events import reference
from forensics_core.kube.objects import Object, Objects
from forensics_core.operator.actions import StoredContext
from forensics_core.operator.attempt import context
from forensics_core.operator.attempt.credentials import seconds_wanted, shortened, within
from forensics_core.operator.attempt.jobs import build_job, build_thaw_job
from forensics_core.operator.attempt.kubelet import KubeletClient
from forensics_core.operator.attempt.order import build_secret, read_order
from forensics_core.operator.containment.effects import ClusterContainment
from forensics_core.operator.containment.policy import as_it_was
from forensics_core.operator.evidence.seal import seal_bundle
from forensics_core.operator.observed import NameTaken, StoredOrder
from forensics_core.operator.settings import Settings
from forensics_core.operator.shared.cache import name_of
from forensics_core.operator.shared.operator_context import OperatorContext
from forensics_core.readers.context import POD
from forensics_core.readers.findings.small_documents import SmallDocuments
from forensics_core.storage.s3.sts import SessionCredentials, SessionRequest, assume_role

MANAGER = "forensics-operator"
"""The name that the operator's writes bear in `managedFields`."""


class ClusterEffects:
    """`Effects`; what the cluster answers goes into the cache, so that the next decision knows."""

    def __init__(self, shared: OperatorContext) -> None:
        self._shared = shared

    @property
    def settings(self) -> Settings:
        """The operator's settings."""
        return self._shared.settings

    @cached_property
    def containment(self) -> ClusterContainment:
        """What is done to the pod itself."""
        return ClusterContainment(self._shared.cluster, self.settings.timings.isolation)

    def now(self) -> datetime:
        """Return the time."""
        return datetime.now(UTC)

    # The resource

    async def write_status(
        self, checkpoint: PodCheckpoint, status: PodCheckpointStatus
    ) -> PodCheckpoint:
        """Write a status; it fails if the checkpoint has moved on since it was observed."""
        client = self._shared.checkpoints(checkpoint)
        written = await client.patch_status(checkpoint, status, manager=MANAGER)
        self._shared.learn(written)
        return written

    async def add_finalizer(self, checkpoint: PodCheckpoint) -> None:
        """Add the operator's finalizer."""
        patched = await self._patch_finalizers(
            checkpoint, [*checkpoint.metadata.finalizers, FINALIZER]
        )
        self._shared.learn(patched)

    async def remove_finalizer(self, checkpoint: PodCheckpoint) -> None:
        """Remove it; what the cluster returns then may be the last that it knows."""
        left = [name for name in checkpoint.metadata.finalizers if name != FINALIZER]
        await self._patch_finalizers(checkpoint, left)

    async def _patch_finalizers(self, checkpoint: PodCheckpoint, names: list[str]) -> PodCheckpoint:
        version = checkpoint.metadata.resource_version
        patch = {"metadata": {"finalizers": names, "resourceVersion": version}}
        return await self._shared.checkpoints(checkpoint).patch(checkpoint.metadata.name, patch)

    async def delete_checkpoint(self, checkpoint: PodCheckpoint) -> None:
        """Ask for the checkpoint's deletion; its evidence stays."""
        await self._shared.checkpoints(checkpoint).delete(
            checkpoint.metadata.name, uid=checkpoint.metadata.uid, missing_ok=True
        )

    # The attempt's children

    async def create_order(self, checkpoint: PodCheckpoint, order: WorkOrder) -> WorkOrder:
        """Create the current attempt's order, or adopt it; with credentials of its own, if set."""
        credentials = await self._credentials(checkpoint, order)
        if credentials is not None:
            given = within(credentials, order, self.settings.collector, self.now())
            role = self._shared.rule(checkpoint).credentials.assume_role or ""
            if told := shortened(order, given, role):
                self.event(checkpoint, "LessTime", told, warning=True)
            order = given
        made = credentials.file() if credentials else ""
        secret = build_secret(checkpoint, order, made)
        there = await self._create(self._shared.secrets, secret, checkpoint)
        self._shared.stored.pop(checkpoint.status.location, None)
        self._shared.kubelet_checkpoints.pop(checkpoint.status.location, None)
        ordered = StoredOrder(*read_order(there))
        self._shared.remember_order(checkpoint, ordered)
        return ordered.order

    async def _credentials(
        self, checkpoint: PodCheckpoint, order: WorkOrder
    ) -> SessionCredentials | None:
        rule = self._shared.rule(checkpoint)
        if not rule.credentials.assume_role:
            return None
        wanted = SessionRequest(
            location=checkpoint.status.location,
            name=f"forensics-{checkpoint.metadata.uid}-{checkpoint.status.attempt}",
            seconds=seconds_wanted(order, self.settings.collector),
        )
        return await assume_role(rule.sts_access(self.settings.timings), wanted)

    async def delete_order(self, checkpoint: PodCheckpoint, attempt: int) -> None:
        """Delete an attempt's order, if there is one."""
        metadata = checkpoint.metadata
        self._shared.orders.pop((metadata.uid or "", attempt), None)
        name = child_name(metadata.name, metadata.uid or "", attempt)
        await self._shared.secrets.delete(name, metadata.namespace, missing_ok=True)

    async def create_job(self, checkpoint: PodCheckpoint, order: WorkOrder) -> None:
        """Create the current attempt's Job, or adopt it."""
        shared = self._shared
        collector = shared.settings.job_settings()
        job = build_job(
            checkpoint, shared.rule(checkpoint), collector, order.active_deadline_seconds
        )
        made = await self._create(shared.jobs, job, checkpoint)
        # The watch may have told of it already, and of more than its making.
        if shared.cache.job(checkpoint) is None:
            shared.cache.put_job(made)
        shared.queue.add(name_of(checkpoint))

    async def delete_job(self, checkpoint: PodCheckpoint) -> None:
        """Delete the current attempt's Job, if there is one, and its pod."""
        await self._shared.jobs.delete(
            checkpoint.status.job_name,
            checkpoint.metadata.namespace,
            propagation="Background",
            missing_ok=True,
        )

    async def create_thaw_job(self, checkpoint: PodCheckpoint, containers: tuple[str, ...]) -> None:
        """Create the Job that resumes containers, unless there is one."""
        job = build_thaw_job(checkpoint, containers, self.settings.collector)
        # One of that name does the same, or nothing can be done about it.
        with suppress(AlreadyExists):
            await self._shared.jobs.create(job)
        self._shared.cache.put_job(job)
        self._shared.queue.add(name_of(checkpoint))

    async def _create(self, objects: Objects, body: Object, checkpoint: PodCheckpoint) -> Object:
        """Create a child, or adopt the one that is there if it is ours."""
        try:
            return await objects.create(body)
        except AlreadyExists:
            metadata = body["metadata"]
            there = await objects.get(metadata["name"], metadata["namespace"])
            owners = there["metadata"].get("ownerReferences") or []
            if checkpoint.metadata.uid not in {owner.get("uid") for owner in owners}:
                raise NameTaken(
                    f"There is a {body['kind']} '{metadata['name']}' that is not this checkpoint's",
                    hint="See who made it, delete it, and create another PodCheckpoint",
                ) from None
            return there

    # The bundle

    async def store_context(self, checkpoint: PodCheckpoint, pod: Object) -> StoredContext:
        """Gather and store the context at the attempt's location, unless that is done."""
        shared, location = self._shared, checkpoint.status.location
        if location not in shared.stored:
            gathered = await context.gather(shared.reads, checkpoint, pod, before=as_it_was(pod))
            writer, reader = await shared.writer(checkpoint), await shared.reader(checkpoint)
            with shared.sparing(checkpoint):
                files = await context.upload(gathered, writer, reader)
            if self.settings.findings:
                shared.findings.hold(gathered.files[POD])
            shared.remember(location, StoredContext(tuple(files), tuple(gathered.gaps)))
        return shared.stored[location]

    async def checkpoint_memory(
        self, checkpoint: PodCheckpoint, pod: Object
    ) -> tuple[KubeletCheckpoint, ...]:
        """Have the kubelet checkpoint the containers, unless that is done or not wanted."""
        shared, location = self._shared, checkpoint.status.location
        settings, wanted = shared.settings.kubelet_checkpoint, checkpoint.spec.artifacts
        if settings is None or ArtifactKind.MEMORY not in wanted:
            return ()
        if location not in shared.kubelet_checkpoints:
            client = KubeletClient(shared.cluster, settings)
            node = await shared.node(pod) or {}
            answers = await client.take(node, pod, checkpoint.spec.containers)
            # An archive is large, and standstill costs the pod: not again when a write fails.
            shared.kubelet_checkpoints[location] = answers
        return shared.kubelet_checkpoints[location]

    async def store_seal(self, checkpoint: PodCheckpoint, manifest: bytes) -> None:
        """Sign a manifest and store the seal beside it."""
        key = await self._shared.key()
        if key is None:
            raise UsageError("The signing key is gone", hint="Mount it again")
        destination = await self._shared.writer(checkpoint)
        store = await self._shared.reader(checkpoint)
        with self._shared.sparing(checkpoint):
            await seal_bundle(destination, store, manifest, key)

    async def find_findings(
        self, checkpoint: PodCheckpoint, documents: SmallDocuments
    ) -> FindingsStatus | None:
        """Return what the rules see in a bundle's small documents, None where nobody can tell."""
        # The manifest was read from there a moment ago: the settings allow it.
        store = await self._shared.reader(checkpoint)
        return await self._shared.findings.find(store, documents, name_of(checkpoint))

    # The operator itself

    @contextmanager
    def reserve(self, checkpoint: PodCheckpoint, node: str) -> Iterator[None]:
        """Hold a place on a node for the block; whoever waits for it is woken if it is not kept."""
        key, cache = name_of(checkpoint), self._shared.cache
        # Reconcilers run side by side: until the status is written, others would count too few.
        cache.reserve(key, node)
        try:
            yield
        finally:
            for waiting in cache.release(key, node):
                self._shared.queue.add(waiting)

    def follow(self, checkpoint: PodCheckpoint, collector_pod: Object | None) -> None:
        """Follow what a collector says, once it runs."""
        if collector_pod is not None:
            self._shared.followers.follow(name_of(checkpoint), collector_pod)

    def forget(self, collector_pod: Object | None) -> None:
        """Stop following it."""
        self._shared.followers.forget(collector_pod)

    def event(
        self, checkpoint: PodCheckpoint, reason: str, note: str, *, warning: bool = False
    ) -> None:
        """Record an event about a checkpoint, for `kubectl describe`."""
        self._shared.events.record(
            reference(checkpoint),
            reason=reason,
            action="Checkpoint",
            note=printable(note),
            kind="Warning" if warning else "Normal",
        )

    def requeue(self, checkpoint: PodCheckpoint, until: datetime) -> None:
        """Have a checkpoint looked at again."""
        seconds = (until - self.now()).total_seconds()
        self._shared.queue.add_after(name_of(checkpoint), max(0.0, seconds))

    def count_captured(self, checkpoint: PodCheckpoint) -> None:
        """Count evidence that was found, for the metrics."""
        start = checkpoint.status.start_time or self.now()
        self._shared.metrics.duration.observe((self.now() - start).total_seconds())
        for each in checkpoint.status.timings:
            step = self._shared.metrics.step_seconds.labels(step=each.step)
            step.observe(each.milliseconds / 1000)

    def count_end(self, checkpoint: PodCheckpoint, reason: str) -> None:
        """Count a checkpoint that came to its end."""
        self._shared.count_end(checkpoint, reason)

    def count_containment(self, checkpoint: PodCheckpoint, what: str, reason: str) -> None:
        """Count what became of an isolation or a deletion of the pod."""
        self._shared.metrics.containment.labels(condition=what, reason=reason).inc()
