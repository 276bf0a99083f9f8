"""Reads that many checkpoints share: the node of twenty pods is fetched once."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio

from forensics_core.kube.connection import Cluster
from forensics_core.kube.objects import Object, Objects
from forensics_core.kube.resources import Resource

FRESH = 10.0
"""Seconds that an answer is used again."""
KEPT = 512
"""Answers kept at most."""


@dataclass(slots=True)
class _Answer:
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    value: Any = None
    at: float = float("-inf")


class Reads:
    """Reads of the cluster; those that are asked for again within `FRESH` seconds are shared."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._answers: OrderedDict[tuple[str, ...], _Answer] = OrderedDict()

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """Return an object. Raises `NotFound`, which is not shared."""
        objects = Objects(self._cluster, resource)
        key = (resource.api_version, resource.plural, namespace or "", name)
        found: Object = await self._shared(key, lambda: objects.get(name, namespace))
        return found

    async def all(self, resource: Resource, namespace: str | None = None) -> list[Object]:
        """Return all objects, in a namespace or everywhere."""
        objects = Objects(self._cluster, resource)

        async def read() -> list[Object]:
            return (await objects.list(namespace)).items

        key = (resource.api_version, resource.plural, namespace or "")
        found: list[Object] = await self._shared(key, read)
        return found

    async def list_now(
        self, resource: Resource, namespace: str, *, field_selector: str
    ) -> list[Object]:
        """Return objects that only one checkpoint asks for: never shared."""
        objects = Objects(self._cluster, resource)
        return (await objects.list(namespace, field_selector=field_selector)).items

    async def get_now(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """Return an object as it is now."""
        return await Objects(self._cluster, resource).get(name, namespace)

    async def _shared(self, key: tuple[str, ...], read: Callable[[], Awaitable[Any]]) -> Any:
        answer = self._answers.setdefault(key, _Answer())
        self._answers.move_to_end(key)
        self._let_go()
        async with answer.lock:
            if time.monotonic() - answer.at > FRESH:
                answer.value = await read()
                answer.at = time.monotonic()
        return answer.value

    def _let_go(self) -> None:
        """Keep neither too many answers, nor old ones that nobody has asked for again."""
        old = time.monotonic() - FRESH
        while len(self._answers) > KEPT or next(iter(self._answers.values())).at < old:
            key, answer = next(iter(self._answers.items()))
            if answer.lock.locked() or len(self._answers) == 1:
                return
            del self._answers[key]
