"""Watches: the store's history from some revision on, as a stream of events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import anyio

from forensics_loopback.kinds.objects import Obj, clone, metadata, namespace_of
from forensics_loopback.kinds.resources import ServedResource
from forensics_loopback.kinds.status import expired
from forensics_loopback.server.faults import Faults
from forensics_loopback.server.selectors import Predicate
from forensics_loopback.storage.store import Store, StoredChange

_FOREVER = 1800.0
_INITIAL_END = "k8s.io/initial-events-end"


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """The query parameters of a watch."""

    resource_version: str = ""
    bookmarks: bool = False
    timeout: float = _FOREVER
    """Seconds until the server ends the stream."""
    initial_events: bool = False
    """A streaming list: the present objects, then a marked bookmark."""


class Watch:
    """One client's watch of one resource."""

    def __init__(
        self,
        store: Store,
        faults: Faults,
        resource: ServedResource,
        namespace: str,
        selected: Predicate,
        *,
        render: Callable[[Obj], Obj],
        bookmark_interval: float,
    ) -> None:
        self._store = store
        self._faults = faults
        self._resource = resource
        self._namespace = namespace
        self._selected = selected
        self._render = render
        self._interval = bookmark_interval
        self._skipped = 0
        self._told = 0

    async def events(self, options: WatchOptions) -> AsyncIterator[bytes]:
        """The stream, one JSON line an event, until the timeout."""
        key = self._resource.qualified
        start = self._start(options)
        if start is None:
            oldest = self._store.oldest(key)
            yield _line("ERROR", expired(int(options.resource_version), oldest).body())
            return
        position, self._told = self._store.position(key, start), start
        if options.initial_events or options.resource_version in {"", "0"}:
            for obj in self._store.objects(key, self._namespace):
                if self._selected(obj):
                    yield _line("ADDED", self._render(obj))
        if options.initial_events and options.bookmarks:
            yield self._bookmark({_INITIAL_END: "true"})
        async for line in self._follow(position, start, options):
            yield line

    def _start(self, options: WatchOptions) -> int | None:
        if options.initial_events or options.resource_version in {"", "0"}:
            return self._store.revision
        revision = int(options.resource_version)
        return None if revision < self._store.oldest(self._resource.qualified) else revision

    async def _follow(
        self, position: int, start: int, options: WatchOptions
    ) -> AsyncIterator[bytes]:
        key, deadline = self._resource.qualified, anyio.current_time() + options.timeout
        while True:
            pulse = self._store.pulse(key)
            changes = self._store.since(key, position)
            if changes is None:
                yield _line("ERROR", expired(start, self._store.oldest(key)).body())
                return
            position += len(changes)
            for change in changes:
                line = self._event(change) if change.revision > start else None
                if line is not None:
                    yield line
            with anyio.move_on_at(min(deadline, anyio.current_time() + self._interval)) as scope:
                await pulse.wait()
            is_over = anyio.current_time() >= deadline
            if options.bookmarks and scope.cancelled_caught and self._has_news(start, is_over):
                yield self._bookmark()
            if is_over:
                return

    def _has_news(self, start: int, is_over: bool) -> bool:
        """Whether a bookmark is due: at each interval, and at the end if there is any news."""
        revision = self._store.revision
        return not self._faults.idle and (revision > self._told if is_over else revision >= start)

    def _event(self, change: StoredChange) -> bytes | None:
        if self._namespace and namespace_of(change.object) != self._namespace:
            return None
        is_in = change.type != "DELETED" and self._selected(change.object)
        was_in = change.previous is not None and self._selected(change.previous)
        if not (is_in or was_in) or self._faults.idle or self._skips():
            return None
        kind = "MODIFIED" if is_in and was_in else "ADDED" if is_in else "DELETED"
        obj = change.object
        if kind == "DELETED" and change.type != "DELETED":
            obj = clone(obj)
            metadata(obj)["resourceVersion"] = str(change.revision)
        return _line(kind, self._render(obj))

    def _skips(self) -> bool:
        wanted = self._faults.skipped_events.get(self._resource.plural, 0)
        if self._skipped >= wanted:
            return False
        self._skipped += 1
        return True

    def _bookmark(self, annotations: dict[str, str] | None = None) -> bytes:
        self._told = self._store.revision
        meta: Obj = {"resourceVersion": str(self._told)}
        if annotations:
            meta["annotations"] = annotations
        frame = {"kind": self._resource.kind, "apiVersion": self._resource.api_version}
        return _line("BOOKMARK", {**frame, "metadata": meta})


def _line(kind: str, obj: Obj) -> bytes:
    return json.dumps({"type": kind, "object": obj}, separators=(",", ":")).encode() + b"\n"
