"""The API without HTTP, for kubelet and controllers in the process that serves it.

What a test breaks on purpose is between the API and its other clients: faults, outages and records
are not for these, just as an outage of one replica's network leaves a cluster's own parts alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

from forensics_core.kube.listwatch import EventType, KnownObjects, WatchEvent, difference
from forensics_core.kube.resources import PODS, Resource
from forensics_loopback.client.api import ObjectChanged
from forensics_loopback.kinds.objects import Obj, Objs, name_of, namespace_of, uid_of
from forensics_loopback.kinds.resources import RequestTarget
from forensics_loopback.kinds.status import ApiError
from forensics_loopback.storage.deletion import delete
from forensics_loopback.storage.operations import Operations


class DirectApi:
    """An `Api` on the stored objects. No call suspends, so that each is atomic."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._store = operations.store

    def _target(self, resource: Resource, obj: Obj, subresource: str = "") -> RequestTarget:
        found = self._operations.registry.named(_key(resource))
        return RequestTarget(found, namespace_of(obj), name_of(obj), subresource)

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Obj | None:
        """The object, not to be changed, or None."""
        return self._store.get(_key(resource), namespace, name)

    async def list(self, resource: Resource, namespace: str = "") -> Objs:
        """All objects, ordered by name."""
        return self._store.objects(_key(resource), namespace)

    async def create(self, resource: Resource, obj: Obj) -> Obj:
        """Create an object."""
        target = self._target(resource, obj)
        return self._operations.create(target.resource, target.namespace, obj).object

    async def replace(self, resource: Resource, obj: Obj, subresource: str = "") -> Obj | None:
        """Replace an object, or its status; None where it is gone. Raises `ObjectChanged`."""
        try:
            return self._operations.replace(self._target(resource, obj, subresource), obj).object
        except ApiError as error:
            if error.reason == "Conflict":
                raise ObjectChanged(error.message) from error
            if error.reason == "NotFound":
                return None
            raise

    async def delete(self, resource: Resource, obj: Obj, **options: Any) -> None:
        """Delete this very object."""
        with _unless_gone():
            wanted = {"preconditions": {"uid": uid_of(obj)}, **options}
            delete(self._operations, self._target(resource, obj), wanted)

    async def bind(self, pod: Obj, node: str) -> None:
        """Put a pod on a node."""
        with _unless_gone():
            self._operations.bind(self._target(PODS, pod), node, uid_of(pod))

    @asynccontextmanager
    async def watch(
        self, resource: Resource, namespace: str = ""
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        """List and watch."""
        async with aclosing(self._events(_key(resource), namespace)) as events:
            yield events

    async def _events(self, key: str, namespace: str) -> AsyncGenerator[WatchEvent, None]:
        known: KnownObjects = {}
        while True:
            position = self._store.position(key, self._store.revision)
            for event in self._listed(key, namespace, known):
                yield event
            async with aclosing(self._changes(key, namespace, known, position)) as changes:
                async for event in changes:
                    yield event

    def _listed(self, key: str, namespace: str, known: KnownObjects) -> Sequence[WatchEvent]:
        there = self._store.objects(key, namespace)
        events = list(difference(known, there))
        known.clear()
        known.update({(namespace_of(obj), name_of(obj)): obj for obj in there})
        return [*events, WatchEvent(EventType.SYNCED)]

    async def _changes(
        self, key: str, namespace: str, known: KnownObjects, position: int
    ) -> AsyncGenerator[WatchEvent, None]:
        """The changes from a position in the history on, until it is forgotten."""
        while True:
            pulse = self._store.pulse(key)
            changes = self._store.since(key, position)
            if changes is None:
                return
            position += len(changes)
            for change in changes:
                obj = change.object
                if namespace and namespace_of(obj) != namespace:
                    continue
                place = (namespace_of(obj), name_of(obj))
                if change.type == "DELETED":
                    known.pop(place, None)
                else:
                    known[place] = obj
                yield WatchEvent(EventType(change.type), obj)
            await pulse.wait()

    async def follow(self, resource: Resource, obj: Obj) -> AsyncGenerator[Obj, None]:
        """The states of one object, until it is gone."""
        while True:
            touched = self._store.touched(uid_of(obj))
            found = self._store.by_uid(uid_of(obj))
            if found is None:
                return
            yield found[1]
            await touched.wait()


def _key(resource: Resource) -> str:
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural


@contextmanager
def _unless_gone() -> Iterator[None]:
    """Leave it at that where the object is gone, or another one by now."""
    try:
        yield
    except ApiError as error:
        if error.reason not in {"NotFound", "Conflict"}:
            raise
