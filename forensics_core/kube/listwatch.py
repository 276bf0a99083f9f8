"""List and watch: everything that is there, then every change, for as long as it takes.

It outlives what API servers and networks do: expired versions, overload, empty answers, resets,
silence. After a gap it lists again and tells the difference, so that a deletion is never missed::

    async with listwatch(cluster, PODS, namespace="prod") as events:
        async for event in events:
            print(event.type, event.object)

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from random import SystemRandom

import anyio

from forensics_core._internal.backoff import Backoff
from forensics_core.errors import ApiUnavailable, ClusterError, Expired, StreamIdle
from forensics_core.kube.answers import failure_in_stream, lines
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.objects import WATCHED_METADATA, Object, Objects, selectors
from forensics_core.kube.resources import Resource

log = logging.getLogger(__name__)


class EventType(StrEnum):
    """What happened."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    SYNCED = "SYNCED"
    """All that was there has been told; comes after every list, and bears no object."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change; the object is without `managedFields`, and after DELETED the last one known."""

    type: EventType
    object: Object = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How patient a watch is."""

    lifetime: int = 300
    """Seconds that a stream is asked to last, at least; at most twice that."""
    idle: float = 120.0
    """Seconds of silence after which a stream is taken for dead; bookmarks come each minute."""
    line_limit: int = 16 * 2**20
    """Bytes of one event."""
    page: int = 25
    """Objects that are listed at a time: whoever watches is in no hurry, but has to stay small."""
    initial_pause: float = 0.8
    """Seconds before the second try."""
    longest_pause: float = 30.0
    """Seconds before any try."""


@asynccontextmanager
async def listwatch(
    cluster: ClusterConnection,
    resource: Resource,
    *,
    namespace: str | None = None,
    label_selector: str = "",
    field_selector: str = "",
    settings: WatchSettings | None = None,
    remember: Callable[[Object], Object] = lambda item: item,
    metadata_only: bool = False,
) -> AsyncIterator[AsyncIterator[WatchEvent]]:
    """Yield the events of all objects that match, in one namespace or everywhere.

    `remember` cuts down what is kept of each for the case that its deletion is missed; it has to
    leave name, namespace, UID and version. That is what such a deletion then bears. With
    `metadata_only` nothing but their metadata is asked for.

    Reading waits through outages of any length. Only before the first list has come through are
    definite refusals (`Forbidden`, `NotFound`, ...) raised.
    """
    watch = _ListWatch(
        cluster,
        resource,
        namespace,
        label_selector,
        field_selector,
        settings or WatchSettings(),
        remember,
        metadata_only,
    )
    async with aclosing(watch.events()) as events:
        yield events


KnownObjects = dict[tuple[str, str], Object]
"""The last known objects, by namespace and name."""


def difference(known: KnownObjects, items: Iterable[Object]) -> Iterator[WatchEvent]:
    """Yield what turns `known` into `items`. An object made anew is a deletion and an addition."""
    there = {_key(item): item for item in items}
    for key, old in known.items():
        if key not in there or _uid(there[key]) != _uid(old):
            yield WatchEvent(EventType.DELETED, old)
    for key, item in there.items():
        old = known.get(key, {})
        if not old or _uid(old) != _uid(item):
            yield WatchEvent(EventType.ADDED, item)
        elif _version(old) != _version(item):
            yield WatchEvent(EventType.MODIFIED, item)


@dataclass(slots=True)
class _ListWatch:
    cluster: ClusterConnection
    resource: Resource
    namespace: str | None
    label_selector: str
    field_selector: str
    settings: WatchSettings
    remember: Callable[[Object], Object]
    metadata_only: bool = False
    known: KnownObjects = field(default_factory=dict)
    version: str | None = None
    """Where the next watch begins; None: list first."""
    synced: bool = False
    backoff: Backoff = field(init=False)

    def __post_init__(self) -> None:
        self.backoff = Backoff(self.settings.initial_pause, self.settings.longest_pause)

    async def events(self) -> AsyncGenerator[WatchEvent, None]:
        while True:
            pause = None
            try:
                if self.version is None:
                    async with aclosing(self._list()) as there:
                        async for event in there:
                            yield event
                async with aclosing(self._watch(self.version or "")) as changes:
                    async for event in changes:
                        yield event
            except ClusterError as error:
                pause = self._after(error)
            await anyio.sleep(self.backoff.next(pause))

    def _after(self, error: ClusterError) -> float | None:
        """Decide how to go on after an error, and return the pause that the server asked for."""
        if not self.synced and not isinstance(error, (ApiUnavailable, Expired)):
            raise error
        log.warning("The watch of %s goes on after: %s", self.resource.plural, error)
        if not isinstance(error, ApiUnavailable):
            self.version = None
            return None
        return error.retry_after

    async def _list(self) -> AsyncGenerator[WatchEvent, None]:
        """Tell what is there and what has gone; no more than one page is held at a time."""
        there: set[tuple[str, str]] = set()
        objects = Objects(self.cluster, self.resource)
        version = ""
        found = objects.pages(
            self.namespace,
            label_selector=self.label_selector,
            field_selector=self.field_selector,
            metadata_only=self.metadata_only,
            at_once=self.settings.page,
        )
        async with aclosing(found) as pages:
            async for page in pages:
                for event in self._compare([_slim(item) for item in page.items]):
                    yield event
                there |= {_key(item) for item in page.items}
                version = page.resource_version
        for key in sorted(self.known.keys() - there):
            yield WatchEvent(EventType.DELETED, self.known.pop(key))
        self.version = version
        self.synced = True
        yield WatchEvent(EventType.SYNCED)

    def _compare(self, items: list[Object]) -> list[WatchEvent]:
        """Return what is new about a page of objects, and remember them."""
        keys = [_key(item) for item in items]
        before = {key: self.known[key] for key in keys if key in self.known}
        self.known |= {_key(item): self.remember(item) for item in items}
        return list(difference(before, items))

    async def _watch(self, version: str) -> AsyncGenerator[WatchEvent, None]:
        began = anyio.current_time()
        heard = False
        try:
            async with self._stream(version) as chunks:
                async for line in lines(chunks, self.settings.line_limit):
                    event = self._parse(line)
                    heard = True
                    self.backoff.reset()
                    if event is not None:
                        yield event
        except StreamIdle:
            if not heard:
                # Not even a bookmark: the version may be one of the future, from before the
                # server was restored from a backup, and a watch from there waits for ever.
                self.version = None
            raise
        if anyio.current_time() - began > self.settings.longest_pause:
            self.backoff.reset()

    @asynccontextmanager
    async def _stream(self, version: str) -> AsyncIterator[AsyncIterator[bytes]]:
        lifetime = self.settings.lifetime
        query = selectors(self.label_selector, self.field_selector) | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(lifetime + SystemRandom().randrange(lifetime)),
        }
        path = self.resource.path(self.namespace)
        accept = WATCHED_METADATA if self.metadata_only else "application/json"
        idle = self.settings.idle
        async with self.cluster.stream(path, query=query, idle=idle, accept=accept) as chunks:
            yield chunks

    def _parse(self, line: bytes) -> WatchEvent | None:
        """Return the event that a line bears, None for a bookmark; keep `known` up to date."""
        what = f"WATCH {self.resource.plural}"
        try:
            data = json.loads(line)
            kind, item = data["type"], data["object"]
            if kind == "ERROR":
                self.version = None
                raise failure_in_stream(what, item)
            self.version = _version(item)
            return None if kind == "BOOKMARK" else self._change(EventType(kind), _slim(item))
        except (ValueError, KeyError, TypeError) as error:
            self.version = None
            raise ApiUnavailable(f"{what}: this is not an event: {line[:200]!r}") from error

    def _change(self, kind: EventType, item: Object) -> WatchEvent:
        if kind is EventType.DELETED:
            self.known.pop(_key(item), None)
        else:
            self.known[_key(item)] = self.remember(item)
        return WatchEvent(kind, item)


def _slim(item: Object) -> Object:
    """Leave out `managedFields`, often the larger half of an object."""
    metadata = {key: item["metadata"][key] for key in item["metadata"] if key != "managedFields"}
    return item | {"metadata": metadata}


def _key(item: Object) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _uid(item: Object) -> str:
    uid: str = item["metadata"].get("uid", "")
    return uid


def _version(item: Object) -> str:
    version: str = item["metadata"]["resourceVersion"]
    return version
