"""The operator's desk: all that acting on a checkpoint needs, and what every step does with it."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

from forensics_core._internal.text import printable
from forensics_core.api.names import child_name
from forensics_core.api.order import WorkOrder
from forensics_core.api.podcheckpoint import PodCheckpoint, PodCheckpointStatus
from forensics_core.errors import DestinationError, NotFound, UsageError
from forensics_core.kube.connection import Cluster
from forensics_core.kube.events import EventRecorder, reference
from forensics_core.kube.objects import Object, Objects
from forensics_core.kube.podcheckpoints import PodCheckpoints
from forensics_core.kube.resources import JOBS, NODES, PODS, SECRETS
from forensics_core.operator.cache import Cache, name_of
from forensics_core.operator.follow import Followers
from forensics_core.operator.manifests import Manifests
from forensics_core.operator.metrics import Metrics
from forensics_core.operator.orders import read_order
from forensics_core.operator.queue import WorkQueue
from forensics_core.operator.reads import Reads
from forensics_core.operator.settings import DestinationRule, Settings
from forensics_core.operator.signing import read_key
from forensics_core.operator.storage import Storage
from forensics_core.storage.s3.destination import S3Destination
from forensics_core.storage.s3_store import S3Store

log = logging.getLogger(__name__)

MANAGER = "forensics-operator"
"""The name that the operator's writes bear in `managedFields`."""


@dataclass
class Desk:
    """What lies on it is shared by all workers."""

    cluster: Cluster
    settings: Settings
    storage: Storage
    cache: Cache
    queue: WorkQueue
    followers: Followers
    reads: Reads
    events: EventRecorder
    metrics: Metrics
    manifests: Manifests

    @cached_property
    def jobs(self) -> Objects:
        """The cluster's Jobs."""
        return Objects(self.cluster, JOBS)

    @cached_property
    def secrets(self) -> Objects:
        """The cluster's Secrets."""
        return Objects(self.cluster, SECRETS)

    async def write(self, checkpoint: PodCheckpoint, status: PodCheckpointStatus) -> PodCheckpoint:
        """Write a status; it fails if the checkpoint has moved on since it was observed."""
        written = await self.checkpoints(checkpoint).patch_status(
            checkpoint, status, manager=MANAGER
        )
        self.learn(written)
        return written

    def learn(self, checkpoint: PodCheckpoint) -> None:
        """Take a checkpoint as the cluster just returned it."""
        for key in self.cache.put(checkpoint):
            self.queue.add(key)

    def say(
        self, checkpoint: PodCheckpoint, reason: str, note: str, *, warning: bool = False
    ) -> None:
        """Record an event about a checkpoint, for `kubectl describe`."""
        self.events.record(
            reference(checkpoint),
            reason=reason,
            action="Checkpoint",
            note=printable(note),
            kind="Warning" if warning else "Normal",
        )

    def wake(self, checkpoint: PodCheckpoint, seconds: float) -> None:
        """Have a checkpoint looked at again after `seconds`."""
        self.queue.add_after(name_of(checkpoint), max(0.0, seconds))

    def rule(self, checkpoint: PodCheckpoint) -> DestinationRule:
        """Return the rule for a checkpoint that has begun: it was allowed then."""
        rule = self.settings.rule_for(checkpoint.status.location)
        if rule is None:
            raise DestinationError(
                f"{checkpoint.status.location} is not allowed any more",
                hint="Add its prefix to the operator's destinations again",
            )
        return rule

    async def order(
        self, checkpoint: PodCheckpoint, attempt: int | None = None
    ) -> tuple[WorkOrder, str] | None:
        """Return an attempt's order and its SHA-256, or None if it is lost; the current one's."""
        metadata = checkpoint.metadata
        name = checkpoint.status.job_name
        if attempt is not None:
            name = child_name(metadata.name, metadata.uid or "", attempt)
        try:
            return read_order(await self.secrets.get(name, metadata.namespace))
        except NotFound:
            return None
        except UsageError as error:
            log.warning("%s: %s", name_of(checkpoint), error, extra=fields_of(checkpoint))
            return None

    async def delete_order(self, checkpoint: PodCheckpoint) -> None:
        """Delete the current attempt's order, if there is one."""
        if checkpoint.status.job_name:
            await self.secrets.delete(
                checkpoint.status.job_name, checkpoint.metadata.namespace, missing_ok=True
            )

    async def delete_orders(self, checkpoint: PodCheckpoint) -> None:
        """Delete the orders of all attempts: one that was interrupted keeps its own so long."""
        metadata = checkpoint.metadata
        for attempt in range(1, checkpoint.status.attempt):
            name = child_name(metadata.name, metadata.uid or "", attempt)
            await self.secrets.delete(name, metadata.namespace, missing_ok=True)
        await self.delete_order(checkpoint)

    async def pod(self, checkpoint: PodCheckpoint) -> Object | None:
        """Return the pod to capture as it is now, or None."""
        try:
            return await self.reads.get_now(PODS, checkpoint.spec.pod, checkpoint.target_namespace)
        except NotFound:
            return None

    async def node(self, pod: Object | None) -> Object | None:
        """Return the node that a pod is on, or None."""
        name = (pod or {}).get("spec", {}).get("nodeName")
        if not name:
            return None
        try:
            return await self.reads.get(NODES, name)
        except NotFound:
            return None

    def done(self, checkpoint: PodCheckpoint, reason: str) -> None:
        """Note the end of a checkpoint."""
        phase = str(checkpoint.status.phase)
        self.metrics.count_end(phase, reason)
        log.info("%s is %s: %s", name_of(checkpoint), phase, reason, extra=fields_of(checkpoint))

    def checkpoints(self, checkpoint: PodCheckpoint) -> PodCheckpoints:
        """Return the client for the checkpoint's namespace."""
        return PodCheckpoints(self.cluster, checkpoint.metadata.namespace)

    async def key(self) -> bytes | None:
        """Return the private key that seals bundles, or None if there is none.

        It is read each time, so that a Secret that is made or renewed later counts at once.
        """
        return await read_key(self.settings)

    async def writer(self, checkpoint: PodCheckpoint) -> S3Destination:
        """Return the bundle of the current attempt, to put something into."""
        spec, status = checkpoint.spec, checkpoint.status
        return await self.storage.writer(
            status.location,
            self.rule(checkpoint),
            retention=spec.retention,
            encryption=spec.encryption,
        )

    def sparing(self, checkpoint: PodCheckpoint) -> AbstractContextManager[None]:
        """Leave the current attempt's destination alone while it does not answer: `Storage`."""
        return self.storage.sparing(self.rule(checkpoint))

    async def reader(self, checkpoint: PodCheckpoint) -> S3Store:
        """Return the bundle of the current attempt, to read back."""
        return await self.storage.reader(checkpoint.status.location, self.rule(checkpoint))


def fields_of(checkpoint: PodCheckpoint) -> dict[str, str | int]:
    """Return what every line of the log about a checkpoint carries."""
    return {
        "checkpoint_uid": checkpoint.metadata.uid or "",
        "checkpoint": name_of(checkpoint),
        "attempt": checkpoint.status.attempt,
    }
