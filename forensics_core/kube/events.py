"""Events that `kubectl describe` shows: what happened to an object, in `events.k8s.io/v1`.

Recording never blocks and never fails the work that it tells of. What happens again becomes a
series on the first event, written at the 2nd, 4th, 8th ... time, so that a loop costs next to
nothing; queue and memory are bounded, and what finds no place is counted::

    async with event_recorder(cluster, "forensics.orkaproj.io/operator", identity) as recorder:
        recorder.record(regarding, reason="CaptureStarted", action="Capture", note="...")

Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

from __future__ import annotations

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from forensics_core._internal.tasks import task_group
from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.errors import ClusterError, NotFound
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.objects import Object, Objects
from forensics_core.kube.resources import EVENTS

log = logging.getLogger(__name__)

NOTE_LIMIT = 1024
"""Bytes, by the API's own rule, which calls them characters."""


EventSubject: TypeAlias = tuple[tuple[str, str], ...]
"""An object reference, as something that can be a key."""


@dataclass(frozen=True, slots=True)
class EventLimits:
    """What keeps events from costing more than they are worth."""

    waiting: int = 1000
    """Events that may wait to be written."""
    known: int = 1024
    """Different events that are remembered, to recognise them."""
    per_object: int = 50
    """Different events of one object, while it is remembered."""
    flush: float = 5.0
    """Seconds that writing the rest may take at the end."""


@dataclass(frozen=True, slots=True)
class EventIdentity:
    """What is the same when it happens again."""

    regarding: EventSubject
    kind: Literal["Normal", "Warning"]
    reason: str
    action: str
    note: str


@dataclass(slots=True)
class _Series:
    name: str
    namespace: str
    count: int = 1


def reference(checkpoint: PodCheckpoint) -> dict[str, str]:
    """Return what an event's `regarding` says of a checkpoint."""
    return {
        "apiVersion": checkpoint.api_version,
        "kind": checkpoint.kind,
        "namespace": checkpoint.metadata.namespace or "",
        "name": checkpoint.metadata.name,
        "uid": checkpoint.metadata.uid or "",
    }


@asynccontextmanager
async def event_recorder(
    cluster: ClusterConnection, controller: str, instance: str, limits: EventLimits | None = None
) -> AsyncIterator[EventRecorder]:
    """Open a recorder; at its end, what waits is written, for at most `limits.flush` seconds.

    `controller` is a qualified name, `instance` tells the replicas apart.
    """
    limits = limits or EventLimits()
    send, receive = anyio.create_memory_object_stream[tuple[EventIdentity, str]](limits.waiting)
    recorder = EventRecorder(Objects(cluster, EVENTS), controller, instance[:128], send, limits)
    async with task_group() as group:
        group.start_soon(recorder.write_all, receive)
        try:
            yield recorder
        finally:
            send.close()
            with anyio.move_on_after(limits.flush, shield=True):
                await recorder.done.wait()
            recorder.writing.cancel()


@dataclass(slots=True)
class EventRecorder:
    """Made by `event_recorder`."""

    events: Objects
    controller: str
    instance: str
    queue: MemoryObjectSendStream[tuple[EventIdentity, str]]
    limits: EventLimits
    dropped: int = 0
    """Events that found no place, or that the API server would not take."""
    done: anyio.Event = field(default_factory=anyio.Event)
    writing: anyio.CancelScope = field(default_factory=lambda: anyio.CancelScope(shield=True))
    """Shielded, so that the last events of work that was cancelled are written too."""
    _known: OrderedDict[EventIdentity, _Series] = field(default_factory=OrderedDict)
    _per_object: Counter[EventSubject] = field(default_factory=Counter)

    def record(
        self,
        regarding: dict[str, str],
        *,
        reason: str,
        action: str,
        note: str,
        kind: Literal["Normal", "Warning"] = "Normal",
    ) -> None:
        """Put an event into the queue; `regarding` is an object reference, see `reference`."""
        subject = tuple(sorted(regarding.items()))
        happening = EventIdentity(subject, kind, reason[:128], action[:128], _cut(note))
        try:
            self.queue.send_nowait((happening, _now()))
        except (anyio.WouldBlock, anyio.ClosedResourceError):
            self.dropped += 1

    async def write_all(self, queue: MemoryObjectReceiveStream[tuple[EventIdentity, str]]) -> None:
        """Write what comes until the queue is closed; errors go to the log."""
        with queue, self.writing:
            async for happening, when in queue:
                await self._write(happening, when)
        self.done.set()

    async def _write(self, happening: EventIdentity, when: str) -> None:
        try:
            if happening not in self._known:
                await self._begin(happening, when)
            else:
                await self._continue(happening, when)
        except ClusterError as error:
            self.dropped += 1
            log.warning("The event %s could not be written: %s", happening.reason, error)

    async def _begin(self, happening: EventIdentity, when: str) -> None:
        if self._per_object[happening.regarding] >= self.limits.per_object:
            self.dropped += 1
            return
        regarding = dict(happening.regarding)
        stem = regarding["name"][:200].rstrip(".-")
        name = f"{stem}.{time.time_ns():x}"
        namespace = regarding.get("namespace") or "default"
        body = self._body(happening, when) | {"metadata": {"name": name, "namespace": namespace}}
        await self.events.create(body)
        self._remember(happening, _Series(name, namespace))

    async def _continue(self, happening: EventIdentity, when: str) -> None:
        series = self._known[happening]
        series.count += 1
        self._known.move_to_end(happening)
        if series.count & (series.count - 1):
            return
        patch = {"series": {"count": series.count, "lastObservedTime": when}}
        try:
            await self.events.patch(series.name, series.namespace, patch)
        except NotFound:
            # The server forgets events after an hour.
            self._forget(happening)
            await self._begin(happening, when)

    def _body(self, happening: EventIdentity, when: str) -> Object:
        return {
            "eventTime": when,
            "reportingController": self.controller,
            "reportingInstance": self.instance,
            "action": happening.action,
            "reason": happening.reason,
            "type": happening.kind,
            "note": happening.note,
            "regarding": {key: value for key, value in happening.regarding if value},
        }

    def _remember(self, happening: EventIdentity, series: _Series) -> None:
        if len(self._known) >= self.limits.known:
            self._forget(next(iter(self._known)))
        self._known[happening] = series
        self._per_object[happening.regarding] += 1

    def _forget(self, happening: EventIdentity) -> None:
        del self._known[happening]
        self._per_object[happening.regarding] -= 1
        if not self._per_object[happening.regarding]:
            del self._per_object[happening.regarding]


def _cut(note: str) -> str:
    """Return as much of a note as an event can hold, with an ellipsis in place of the rest."""
    data = note.encode(errors="replace")
    if len(data) <= NOTE_LIMIT:
        return data.decode()
    return data[: NOTE_LIMIT - len("…".encode())].decode(errors="ignore") + "…"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
