"""The API over HTTP: any API server that a kubeconfig names.

It waits through outages, as often as calls can be made again: versions and UIDs see to it that no
change is made twice. Only `create` raises `ApiUnavailable`, and its caller looks what is there.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import Any, TypeVar

import anyio

from forensics_core._internal.backoff import Backoff
from forensics_core.errors import ApiUnavailable, Conflict, NotFound
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.listwatch import EventType, WatchEvent, listwatch
from forensics_core.kube.objects import Objects as Store
from forensics_core.kube.resources import PODS, Resource
from forensics_loopback.client.api import ObjectChanged
from forensics_loopback.kinds.objects import (
    Obj,
    Objs,
    metadata,
    name_of,
    namespace_of,
    uid_of,
)

T = TypeVar("T")
_MAX_PAUSE = 10.0
"""Seconds between two attempts, unless the server asks for more."""


async def _with_retries(call: Callable[[], Awaitable[T]]) -> T:
    backoff = Backoff(0.2, _MAX_PAUSE)
    while True:
        try:
            return await call()
        except ApiUnavailable as error:
            pause = error.retry_after
        await anyio.sleep(backoff.next(pause))


class RemoteApi:
    """An `Api` by way of a connection that `forensics_core.kube.connection.connect` opened."""

    def __init__(self, cluster: ClusterConnection) -> None:
        self._cluster = cluster

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Obj | None:
        """The object, or None."""
        try:
            store = Store(self._cluster, resource)
            return await _with_retries(lambda: store.get(name, namespace or None))
        except NotFound:
            return None

    async def list(self, resource: Resource, namespace: str = "") -> Objs:
        """All objects, ordered by name: the API server's own order."""
        store = Store(self._cluster, resource)
        return (await _with_retries(lambda: store.list(namespace or None))).items

    async def create(self, resource: Resource, obj: Obj) -> Obj:
        """Create an object."""
        return await Store(self._cluster, resource).create(obj)

    async def replace(self, resource: Resource, obj: Obj, subresource: str = "") -> Obj | None:
        """Replace an object, or its status; None where it is gone. Raises `ObjectChanged`."""
        path = resource.path(namespace_of(obj) or None, name_of(obj), subresource or None)
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **obj}
        try:
            found: Obj = await self._send("PUT", path, body)
        except NotFound:
            return None
        except Conflict as error:
            raise ObjectChanged(error.message) from error
        return found

    async def delete(self, resource: Resource, obj: Obj, **options: Any) -> None:
        """Delete this very object."""
        path = resource.path(namespace_of(obj) or None, name_of(obj))
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid_of(obj)},
            **options,
        }
        # A conflict: the name belongs to another object by now.
        with suppress(NotFound, Conflict):
            await self._send("DELETE", path, body)

    async def bind(self, pod: Obj, node: str) -> None:
        """Put a pod on a node."""
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name_of(pod), "uid": uid_of(pod)},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        path = PODS.path(namespace_of(pod), name_of(pod), "binding")
        with suppress(NotFound, Conflict):
            await self._send("POST", path, body)

    async def _send(self, method: str, path: str, body: Obj) -> Any:
        return await _with_retries(partial(self._cluster.request, method, path, body=body))

    def watch(
        self, resource: Resource, namespace: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent]]:
        """List and watch."""
        return listwatch(self._cluster, resource, namespace=namespace or None)

    async def follow(self, resource: Resource, obj: Obj) -> AsyncGenerator[Obj, None]:
        """The states of one object, until it is gone."""
        async with listwatch(
            self._cluster,
            resource,
            namespace=namespace_of(obj) or None,
            field_selector=f"metadata.name={name_of(obj)}",
        ) as events:
            there = False
            async for event in events:
                if event.type is EventType.SYNCED:
                    if not there:
                        return
                    continue
                there = event.type is not EventType.DELETED
                if not there or metadata(event.object)["uid"] != uid_of(obj):
                    return
                yield event.object
