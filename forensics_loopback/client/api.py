"""What a kubelet or a controller asks of the API, whoever serves it, and the usual uses of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

import anyio
import anyio.abc

from forensics_core.errors import ForensicsError
from forensics_core.kube.listwatch import WatchEvent
from forensics_core.kube.resources import Resource
from forensics_loopback.kinds.objects import (
    Obj,
    Objs,
    clone,
    name_of,
    namespace_of,
    uid_of,
)

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")


class ObjectChanged(ForensicsError):
    """The object has another version by now: read it again."""


class Api(Protocol):
    """The calls: over HTTP (`RemoteApi`), or within the process that serves (`DirectApi`)."""

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Obj | None:
        """The object, not to be changed, or None."""

    async def list(self, resource: Resource, namespace: str = "") -> Objs:
        """All objects, in one namespace or everywhere, ordered by name."""

    async def create(self, resource: Resource, obj: Obj) -> Obj:
        """Create an object, and return it as it was stored."""

    async def replace(self, resource: Resource, obj: Obj, subresource: str = "") -> Obj | None:
        """Replace an object, or its status; None where it is gone. Raises `ObjectChanged`."""

    async def delete(self, resource: Resource, obj: Obj, **options: Any) -> None:
        """Delete this very object; `options` as in DeleteOptions. Nothing happens if it is gone."""

    async def bind(self, pod: Obj, node: str) -> None:
        """Put a pod on a node, as schedulers do; nothing happens if it is gone or has one."""

    def watch(
        self, resource: Resource, namespace: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent]]:
        """List and watch: what is there, SYNCED, and every change for as long as it takes."""

    def follow(self, resource: Resource, obj: Obj) -> AsyncGenerator[Obj, None]:
        """The states of one object, the present one first; ends when it is gone."""


async def amend(
    api: Api,
    resource: Resource,
    obj: Obj,
    change: Callable[[Obj], None],
    subresource: str = "status",
) -> Obj | None:
    """Change an object as it is now, and return it as it is then; None where it is gone.

    `change` gets a copy to work on, and another one where somebody else was faster.
    """
    while True:
        current = await api.get(resource, name_of(obj), namespace_of(obj))
        if current is None or uid_of(current) != uid_of(obj):
            return None
        new = clone(current)
        change(new)
        if new == current:
            return current
        try:
            return await api.replace(resource, new, subresource)
        except ObjectChanged:
            continue


async def until(api: Api, resource: Resource, obj: Obj, met: Callable[[Obj], object]) -> Obj | None:
    """Wait until an object meets a condition, and return it; None once it is gone."""
    async with aclosing(api.follow(resource, obj)) as states:
        async for state in states:
            if met(state):
                return state
    return None


@dataclass(slots=True)
class ObjectTasks:
    """At most one task for each object, by UID."""

    tasks: anyio.abc.TaskGroup
    _scopes: dict[str, anyio.CancelScope] = field(default_factory=dict)

    def start(self, run: Callable[[Obj], Awaitable[None]], obj: Obj) -> None:
        """Run something for the object; nothing happens while its last task still runs."""
        if uid_of(obj) not in self._scopes:
            self._scopes[uid_of(obj)] = anyio.CancelScope()
            self.tasks.start_soon(self._run, run, obj)

    def cancel(self, obj: Obj) -> bool:
        """End the object's task, and tell whether there is one."""
        scope = self._scopes.get(uid_of(obj))
        if scope is not None:
            scope.cancel()
        return scope is not None

    async def _run(self, run: Callable[[Obj], Awaitable[None]], obj: Obj) -> None:
        try:
            with self._scopes[uid_of(obj)]:
                await run(obj)
        finally:
            del self._scopes[uid_of(obj)]
