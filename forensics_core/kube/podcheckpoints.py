"""PodCheckpoints in a cluster: the typed client of scripts, operator, command line and bot.

async with connect() as cluster:
    checkpoints = PodCheckpoints(cluster)
    made = await checkpoints.create(PodCheckpointSpec(pod="web-0", destination="s3://cases"))
    done = await checkpoints.wait(made.metadata.name)  # raises CheckpointFailed
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from forensics_core.api.names import INCIDENT_LABEL
from forensics_core.api.podcheckpoint import (
    PodCheckpoint,
    PodCheckpointSpec,
    PodCheckpointStatus,
)
from forensics_core.api.resource import ObjectMeta
from forensics_core.errors import NotFound, UsageError
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.listwatch import EventType, WatchEvent, WatchSettings, listwatch
from forensics_core.kube.objects import Object, Objects
from forensics_core.kube.resources import PODCHECKPOINTS

log = logging.getLogger(__name__)

STEM_LIMIT = 57
"""Characters of the pod's name that a generated name begins with."""


@dataclass(frozen=True, slots=True)
class CheckpointEvent:
    """One change; `checkpoint` is None only for SYNCED."""

    type: EventType
    checkpoint: PodCheckpoint | None


def finished(checkpoint: PodCheckpoint) -> bool:
    """Whether the checkpoint has come to its end, good or bad."""
    return checkpoint.finished


def captured(checkpoint: PodCheckpoint) -> bool:
    """Whether the pod may be killed, or nothing more will come."""
    return checkpoint.captured or checkpoint.finished


class PodCheckpoints:
    """The PodCheckpoints of one namespace. Errors are those of `ClusterConnection.request`."""

    def __init__(
        self,
        cluster: ClusterConnection,
        namespace: str | None = None,
        *,
        settings: WatchSettings | None = None,
    ) -> None:
        self.namespace = namespace or cluster.namespace
        self._cluster = cluster
        self._settings = settings
        self._objects = Objects(cluster, PODCHECKPOINTS)

    async def create(
        self,
        spec: PodCheckpointSpec,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        finalizers: Sequence[str] = (),
        dry_run: bool = False,
    ) -> PodCheckpoint:
        """Ask for a capture. Without `name` the server makes one that begins like the pod's.

        Raises `AlreadyExists`, `Invalid`, and `Forbidden` where admission says no.
        """
        incident = {INCIDENT_LABEL: spec.incident} if spec.incident else {}
        metadata = ObjectMeta(
            name=name or "",
            # A name that is cut may end in a separator: `web.-x7kq2` is no DNS name.
            generate_name=None if name else f"{spec.pod[:STEM_LIMIT].rstrip('.-')}-",
            namespace=self.namespace,
            labels=incident | dict(labels or {}),
            annotations=dict(annotations or {}),
            finalizers=tuple(finalizers),
        )
        body = PodCheckpoint(metadata=metadata, spec=spec).to_dict()
        return PodCheckpoint.parse(await self._objects.create(body, dry_run=dry_run))

    async def get(self, name: str) -> PodCheckpoint:
        """Return a checkpoint. Raises `NotFound`."""
        return PodCheckpoint.parse(await self._objects.get(name, self.namespace))

    async def list(self, *, label_selector: str = "") -> list[PodCheckpoint]:
        """Return all checkpoints that match, by namespace and name."""
        found = await self._objects.list(self.namespace, label_selector=label_selector)
        return [PodCheckpoint.parse(item) for item in found.items]

    @asynccontextmanager
    async def watch(
        self,
        name: str | None = None,
        *,
        label_selector: str = "",
        remember: Callable[[Object], Object] = lambda item: item,
        known: Callable[[Object], bool] = lambda item: False,
    ) -> AsyncIterator[AsyncIterator[CheckpointEvent]]:
        """Yield what is there and every change, through outages; see `listwatch`.

        What is `known` in that very version is left out: the answers to one's own writes come back.
        An object that this release cannot read is left out, with an error in the log.
        """
        async with (
            listwatch(
                self._cluster,
                PODCHECKPOINTS,
                namespace=self.namespace,
                label_selector=label_selector,
                field_selector=f"metadata.name={name}" if name else "",
                settings=self._settings,
                remember=remember,
            ) as events,
            aclosing(_typed(events, known)) as checkpoints,
        ):
            yield checkpoints

    async def wait(
        self,
        name: str,
        *,
        until: Callable[[PodCheckpoint], bool] = finished,
        failed_ok: bool = False,
    ) -> PodCheckpoint:
        """Return the checkpoint once `until` holds of it: `finished`, `captured`, or your own.

        Raises `CheckpointFailed` as soon as it was given up, whatever `until` says: what a failed
        attempt left behind is easily taken for evidence. With `failed_ok` it is returned instead.

        It may be gone by then: one that lives no longer than its end is returned as it was last.
        Raises `NotFound` if it is not there or goes before. For a limit use `anyio.fail_after`.
        """
        seen = False
        async with self.watch(name) as events:
            async for event in events:
                if event.checkpoint is not None:
                    if not failed_ok:
                        event.checkpoint.raise_for_failure()
                    if until(event.checkpoint):
                        return event.checkpoint
                seen = seen or event.checkpoint is not None
                if event.type is EventType.DELETED or not seen:
                    break
        raise NotFound(
            f"The PodCheckpoint '{name}' is not in the namespace '{self.namespace}'",
            hint="It may have been deleted; its evidence is where it was stored",
        )

    async def delete(self, name: str, *, uid: str | None = None, missing_ok: bool = False) -> None:
        """Delete a checkpoint and its children; evidence stays. With `uid`, only that very one."""
        await self._objects.delete(name, self.namespace, uid=uid, missing_ok=missing_ok)

    async def cancel(self, name: str) -> PodCheckpoint:
        """Ask the capture to stop and keep what there is. Once asked, it stays asked."""
        return await self.patch(name, {"spec": {"cancel": True}})

    async def release(self, name: str, *, uid: str | None = None) -> PodCheckpoint:
        """Ask for the pod's isolation to be lifted. Once asked, it stays asked.

        With `uid`, of that very checkpoint only, else `Conflict`.
        """
        only = {"metadata": {"uid": uid}} if uid else {}
        return await self.patch(name, {"spec": {"release": True}, **only})

    async def patch(self, name: str, patch: Mapping[str, Any]) -> PodCheckpoint:
        """Change metadata or spec by a JSON merge patch; `status` in it is ignored."""
        return PodCheckpoint.parse(await self._objects.patch(name, self.namespace, dict(patch)))

    async def patch_status(
        self, checkpoint: PodCheckpoint, status: PodCheckpointStatus, *, manager: str
    ) -> PodCheckpoint:
        """Make `status` the whole status, as seen from `checkpoint`.

        Raises `Conflict` if the checkpoint changed since it was read, or is another of its name.
        """
        seen = checkpoint.metadata
        metadata = {
            "name": seen.name,
            "namespace": seen.namespace or self.namespace,
            "uid": seen.uid,
            # With a version an apply is conditional: a change by others makes it a conflict.
            "resourceVersion": seen.resource_version,
        }
        body = {"metadata": metadata, "status": status.to_dict()}
        answer = await self._objects.apply(body, manager=manager, subresource="status")
        return PodCheckpoint.parse(answer)


async def _typed(
    events: AsyncIterator[WatchEvent], known: Callable[[Object], bool]
) -> AsyncGenerator[CheckpointEvent, None]:
    async for event in events:
        if event.type is EventType.SYNCED:
            yield CheckpointEvent(event.type, None)
            continue
        if event.type is not EventType.DELETED and known(event.object):
            continue
        try:
            yield CheckpointEvent(event.type, PodCheckpoint.parse(event.object))
        except UsageError as error:
            log.error("%s: %s", event.object["metadata"]["name"], error)
