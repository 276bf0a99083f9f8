"""What controllers of namespaced owners share: whatever changes, the owners there are looked at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from forensics_core.kube.listwatch import EventType
from forensics_core.kube.resources import PODS, Resource
from forensics_loopback.client.api import Api
from forensics_loopback.kinds.objects import Obj, is_deleting, namespace_of


async def reconcile_owners(
    api: Api,
    owners: Resource,
    wanted: Callable[[Obj], bool],
    sync: Callable[[Obj], Awaitable[None]],
) -> None:
    """Sync the `owners` of a namespace that are `wanted`, one after the other, until cancelled.

    They are synced whenever one of them changes, or a pod of their namespace.
    """
    turn = anyio.Lock()

    async def watch(resource: Resource) -> None:
        async with api.watch(resource) as events:
            async for event in events:
                if event.type is EventType.SYNCED:
                    continue
                async with turn:
                    for one in await api.list(owners, namespace_of(event.object)):
                        if wanted(one) and not is_deleting(one):
                            await sync(one)

    async with anyio.create_task_group() as tasks:
        for resource in (owners, PODS):
            tasks.start_soon(watch, resource)
