"""What all parts of the operator share: its clients, its caches, its settings."""

from __future__ import annotations

import logging
from collections import OrderedDict
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property

from anyio import to_thread

from forensics_core.api.names import child_name
from forensics_core.api.order import KubeletCheckpoint
from forensics_core.api.podcheckpoint import Phase, PodCheckpoint
from forensics_core.bundle.seal import public_key_of
from forensics_core.errors import DestinationError, NotFound, UsageError
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.events import EventRecorder
from forensics_core.kube.objects import Object, Objects
from forensics_core.kube.podcheckpoints import PodCheckpoints
from forensics_core.kube.resources import JOBS, NODES, PODS, SECRETS
from forensics_core.operator.actions import StoredContext
from forensics_core.operator.attempt.monitor import Followers
from forensics_core.operator.attempt.order import read_order
from forensics_core.operator.attempt.pods import node_of
from forensics_core.operator.attempt.reads import Reads
from forensics_core.operator.containment.surroundings import Enforcers
from forensics_core.operator.evidence.findings import FindingsReader
from forensics_core.operator.evidence.listed import ListedBundle
from forensics_core.operator.evidence.manifest import Manifests
from forensics_core.operator.evidence.storage import DestinationClients
from forensics_core.operator.observed import OrderLost, StoredOrder
from forensics_core.operator.settings import DestinationRule, Settings
from forensics_core.operator.shared.cache import Cache, fields_of, name_of
from forensics_core.operator.shared.metrics import Metrics
from forensics_core.operator.shared.queue import WorkQueue
from forensics_core.storage.s3.storage import S3Storage

log = logging.getLogger(__name__)

MAX_REMEMBERED = 2000
"""Attempts whose context is remembered while they wait."""
ORDERS = 256
"""Orders that are remembered while their attempts run: some ten KiB each."""


@dataclass
class OperatorContext:
    """One operator's; shared by all reconcilers."""

    cluster: ClusterConnection
    settings: Settings
    storage: DestinationClients
    cache: Cache
    queue: WorkQueue
    followers: Followers
    reads: Reads
    events: EventRecorder
    metrics: Metrics
    manifests: Manifests
    findings: FindingsReader
    stored: OrderedDict[str, StoredContext] = field(default_factory=OrderedDict)
    """The context that is stored, by location, until its attempt's order is written.

    A capture may have to wait for its place, and the pod may be gone by then. After a restart it is
    gathered again, and whatever is stored already is kept.
    """

    orders: OrderedDict[tuple[str, int], StoredOrder] = field(default_factory=OrderedDict)
    """What was ordered, by the checkpoint's UID and its current attempt, as the cluster answered
    when it was written: nobody need be asked again. Of earlier attempts, and after a restart, the
    Secret is read."""

    kubelet_checkpoints: dict[str, tuple[KubeletCheckpoint, ...]] = field(default_factory=dict)
    """What kubelets answered, by location, until the attempt's order is written."""

    @cached_property
    def jobs(self) -> Objects:
        """The cluster's Jobs."""
        return Objects(self.cluster, JOBS)

    @cached_property
    def secrets(self) -> Objects:
        """The cluster's Secrets."""
        return Objects(self.cluster, SECRETS)

    @cached_property
    def enforcers(self) -> Enforcers:
        """What enforces network policies in the cluster."""
        return Enforcers(self.reads, self.settings.network_policies)

    def checkpoints(self, checkpoint: PodCheckpoint) -> PodCheckpoints:
        """Return the client for the checkpoint's namespace."""
        return PodCheckpoints(self.cluster, checkpoint.metadata.namespace)

    def learn(self, checkpoint: PodCheckpoint) -> None:
        """Take a checkpoint as the cluster just returned it."""
        for key in self.cache.put(checkpoint):
            self.queue.add(key)

    def remember(self, location: str, context: StoredContext) -> None:
        """Note that an attempt's context is stored."""
        self.stored[location] = context
        if len(self.stored) > MAX_REMEMBERED:
            self.stored.popitem(last=False)

    def remember_order(self, checkpoint: PodCheckpoint, ordered: StoredOrder) -> None:
        """Note what the current attempt's order says, as the cluster has it."""
        self.orders[checkpoint.metadata.uid or "", checkpoint.status.attempt] = ordered
        if len(self.orders) > ORDERS:
            self.orders.popitem(last=False)

    def count_end(self, checkpoint: PodCheckpoint, reason: str) -> None:
        """Count a checkpoint that came to its end."""
        status = checkpoint.status
        self.metrics.count_end(str(status.phase), reason)
        if status.phase is Phase.COMPLETE:
            self.metrics.stored.inc(status.bytes)
        name = name_of(checkpoint)
        log.info("%s is %s: %s", name, status.phase, reason, extra=fields_of(checkpoint))

    async def pod(self, checkpoint: PodCheckpoint) -> Object | None:
        """Return the pod to capture as it is now, or None."""
        try:
            return await self.reads.get_now(PODS, checkpoint.spec.pod, checkpoint.target_namespace)
        except NotFound:
            return None

    async def node(self, pod: Object | None) -> Object | None:
        """Return the node that a pod is on, or None."""
        name = node_of(pod)
        if not name:
            return None
        try:
            return await self.reads.get(NODES, name)
        except NotFound:
            return None

    async def order(
        self, checkpoint: PodCheckpoint, attempt: int | None = None
    ) -> StoredOrder | OrderLost:
        """Return an attempt's order; the current one's."""
        metadata, status = checkpoint.metadata, checkpoint.status
        known = self.orders.get((metadata.uid or "", status.attempt))
        if attempt is None and known is not None:
            return known
        # By name, not by a list: the names follow from UID and attempt, and lists may be behind.
        name = child_name(metadata.name, metadata.uid or "", attempt or status.attempt)
        try:
            return StoredOrder(*read_order(await self.secrets.get(name, metadata.namespace)))
        except NotFound:
            return OrderLost()
        except UsageError as error:
            log.warning("%s: %s", name_of(checkpoint), error, extra=fields_of(checkpoint))
            return OrderLost()

    def rule(self, checkpoint: PodCheckpoint) -> DestinationRule:
        """Return the rule for a checkpoint that has begun: it was allowed then."""
        rule = self.settings.rule_for(checkpoint.status.location)
        if rule is None:
            raise DestinationError(
                f"{checkpoint.status.location} is not allowed any more",
                hint="Add its prefix to the operator's destinations again",
            )
        return rule

    async def writer(self, checkpoint: PodCheckpoint) -> S3Storage:
        """Return the bundle of the current attempt, to put something into."""
        spec, status = checkpoint.spec, checkpoint.status
        return await self.storage.writer(
            status.location,
            self.rule(checkpoint),
            retention=spec.retention,
            encryption=spec.encryption,
        )

    async def reader(self, checkpoint: PodCheckpoint) -> S3Storage:
        """Return the bundle of the current attempt, to read back."""
        return await self.storage.reader(checkpoint.status.location, self.rule(checkpoint))

    async def bundle(self, checkpoint: PodCheckpoint) -> ListedBundle:
        """Return the same as it is now, listed once."""
        return await self.storage.bundle(checkpoint.status.location, self.rule(checkpoint))

    def sparing(self, checkpoint: PodCheckpoint) -> AbstractContextManager[None]:
        """Leave the current attempt's destination alone while it does not answer."""
        return self.storage.sparing(self.rule(checkpoint))

    async def has_key(self) -> bool:
        """Return whether there is a private key that seals bundles.

        It is looked for each time, so that a Secret that is made or renewed later counts at once.
        """
        path = self.settings.signing_key
        if path is None:
            return False
        there = await to_thread.run_sync(path.exists)
        if not there:
            log.warning("%s is not there: bundles are not sealed", path)
        return there

    async def key(self) -> bytes | None:
        """Return the private key that seals bundles, or None if there is none."""
        return await read_key(self.settings)


async def read_key(settings: Settings) -> bytes | None:
    """Return the private key, or None if none is set, or is there yet. Raises `UsageError`."""
    path = settings.signing_key
    if path is None:
        return None
    try:
        return await to_thread.run_sync(path.read_bytes)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(
            f"The signing key {path} cannot be read: {error.strerror}", hint="Mount it readable"
        ) from error


async def check_key(settings: Settings) -> None:
    """Raise `UsageError` for a key that is there and that no seal can be made with."""
    key = await read_key(settings)
    try:
        if key is not None:
            await to_thread.run_sync(public_key_of, key)
    except UsageError as error:
        raise UsageError(f"{settings.signing_key}: {error.message}", hint=error.hint) from error
