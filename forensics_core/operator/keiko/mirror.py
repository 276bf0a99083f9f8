"""Keeping PodCheckpoints of `forensics.keikoproj.io` and ours alike: two watches and a queue.

It needs the overlay `keiko`: the definition of theirs, and the rights. Without it this waits, and
says so once.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

import anyio

from forensics_core._internal.backoff import Backoff
from forensics_core._internal.tasks import task_group
from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.errors import (
    AlreadyExists,
    ClusterError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    UsageError,
)
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.listwatch import EventType, listwatch
from forensics_core.kube.objects import Object, Objects
from forensics_core.kube.resources import PODCHECKPOINTS, Resource
from forensics_core.operator.keiko.decision import (
    KEIKO,
    KEIKO_LABEL,
    CreateOurs,
    LinkTheirs,
    MirrorStatus,
    decide_mirror,
    our_name,
    owned_by,
    refused,
)
from forensics_core.operator.shared.queue import WorkQueue

log = logging.getLogger(__name__)

MANAGER = "forensics-operator"
_DENIED = "denied request"
"""How an admission policy says no."""
ABSENT_PAUSE = 120.0
"""Seconds, at most, between two looks whether the cluster knows theirs."""


class KeikoMirror:
    """Keeps theirs and ours alike in one namespace."""

    def __init__(
        self, cluster: ClusterConnection, namespace: str, *, pause: float = ABSENT_PAUSE
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._pause = pause
        self._theirs = Objects(cluster, KEIKO)
        self._ours = Objects(cluster, PODCHECKPOINTS)
        self._known: dict[str, Object] = {}
        """Theirs, by name."""
        self._made: dict[str, PodCheckpoint] = {}
        """Ours, by their own name."""
        self._queue = WorkQueue()
        self._unsynced = {KEIKO.group, PODCHECKPOINTS.group}
        self._synced = anyio.Event()

    async def run(self) -> None:
        """Work until cancelled, through outages; wait while the cluster does not know theirs."""
        async with task_group() as tasks:
            tasks.start_soon(self._watch, KEIKO, "", self._on_theirs)
            tasks.start_soon(self._watch, PODCHECKPOINTS, KEIKO_LABEL, self._on_ours)
            await self._synced.wait()
            while True:
                async with self._queue.take() as name:
                    await self._reconcile(name)

    async def _watch(
        self, resource: Resource, selector: str, see: Callable[[Object, bool], None]
    ) -> None:
        backoff = Backoff(1.0, self._pause)
        while True:
            try:
                async with listwatch(
                    self._cluster, resource, namespace=self._namespace, label_selector=selector
                ) as events:
                    async for event in events:
                        if event.type is EventType.SYNCED:
                            self._one_synced(resource)
                        else:
                            see(event.object, event.type is EventType.DELETED)
            # Only before the first list has come through: after that it goes on by itself.
            except ClusterError as error:
                level = logging.DEBUG if backoff.failures else logging.WARNING
                log.log(level, "%s: apply deploy/overlays/keiko, or unset keiko", error)
            await anyio.sleep(backoff.next())

    def _one_synced(self, resource: Resource) -> None:
        self._unsynced.discard(resource.group)
        if not self._unsynced:
            self._synced.set()

    def _on_theirs(self, theirs: Object, gone: bool) -> None:
        name = theirs["metadata"]["name"]
        if gone:
            self._known.pop(name, None)
            self._queue.succeeded(name)
        else:
            self._known[name] = theirs
            self._queue.add(name)

    def _on_ours(self, item: Object, gone: bool) -> None:
        name = item["metadata"]["name"]
        if gone:
            self._made.pop(name, None)
        else:
            try:
                self._made[name] = PodCheckpoint.parse(item)
            except UsageError as error:
                # One of another release; nothing is told of it in theirs.
                log.error("%s: %s", name, error)
                return
        owners = item["metadata"].get("ownerReferences") or ()
        for one in owners:
            if one.get("apiVersion") == KEIKO.api_version:
                self._queue.add(one["name"])

    async def _reconcile(self, name: str) -> None:
        try:
            await self._act(name)
            self._queue.succeeded(name)
        except (Conflict, NotFound) as error:
            log.debug("%s: %s", name, error)
            self._queue.retry(name)
        except ClusterError as error:
            pause = self._queue.retry(name)
            log.warning("%s: %s Again in %.1f s.", name, error, pause)

    async def _act(self, name: str) -> None:
        theirs = self._known.get(name)
        ours = self._made.get(our_name(theirs)) if theirs else None
        try:
            action = decide_mirror(theirs, ours)
        except UsageError as error:
            action = MirrorStatus(refused(error, datetime.now(UTC)))
        if theirs is None or action is None:
            return
        match action:
            case CreateOurs(checkpoint):
                await self._create(theirs, checkpoint)
            case LinkTheirs(patch):
                await self._learn(partial(self._theirs.patch, name, self._namespace, patch))
            case MirrorStatus(status):
                await self._write_status(theirs, status)

    async def _create(self, theirs: Object, checkpoint: PodCheckpoint) -> None:
        body = checkpoint.to_dict()
        body["metadata"]["ownerReferences"] = [owned_by(theirs)]
        try:
            made = await self._ours.create(body)
        except AlreadyExists:
            # Made before a crash, or the answer was lost.
            made = await self._ours.get(checkpoint.metadata.name, self._namespace)
            owners = made["metadata"].get("ownerReferences") or ()
            if theirs["metadata"]["uid"] not in {one.get("uid") for one in owners}:
                taken = Invalid(f"The name '{checkpoint.metadata.name}' is somebody else's")
                await self._write_status(theirs, refused(taken, datetime.now(UTC)))
                return
        except (Invalid, Forbidden) as error:
            # Without the overlay's rights it is tried again: only admission's word is final.
            if isinstance(error, Forbidden) and _DENIED not in str(error):
                raise
            await self._write_status(theirs, refused(error, datetime.now(UTC)))
            return
        self._on_ours(made, False)

    async def _write_status(self, theirs: Object, status: Object) -> None:
        metadata = theirs["metadata"]
        seen = {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion")}
        body: Object = {"metadata": seen, "status": status}
        apply = partial(self._theirs.apply, body, manager=MANAGER, subresource="status")
        await self._learn(apply)

    async def _learn(self, write: Callable[[], Awaitable[Object]]) -> None:
        """Write, and take theirs as the cluster returns it: the next decision rests on that."""
        written = await write()
        name: str = written["metadata"]["name"]
        self._known[name] = written
        self._queue.add(name)
