"""Reads that many checkpoints share: the node of twenty pods is fetched once."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio

from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.objects import Object, Objects
from forensics_core.kube.resources import Resource

MAX_KEPT = 64
"""Answers kept at most."""
MAX_KEPT_BYTES = 8 * 1024 * 1024
"""Bytes of JSON that all of them may have; as objects they take several times that."""

MAX_LISTING = 1024 * 1024
"""Bytes of JSON that are kept of one listing; as objects they take several times that."""
MAX_ONE_BY_ONE = 100
"""Objects that are read one by one, each by a request."""
ANSWER = 2 * 1024 * 1024
"""Bytes of a page that are read at once."""
OBJECT = 4 * 1024 * 1024
"""Bytes of one object: more than etcd stores."""


@dataclass(slots=True)
class BoundedListing:
    """What was read of a listing, or one by one: as much as there is room for."""

    items: list[Object] = field(default_factory=list)
    cut: bool = False
    """Whether there were more than fit."""
    size: int = 0
    """Bytes of JSON that were read."""

    def take(self, item: Object) -> bool:
        """Add an object, and return whether there was room for it."""
        self.size += _size(item)
        self.cut = self.size > MAX_LISTING
        if not self.cut:
            self.items.append(item)
        return not self.cut


async def read_each(
    read: Callable[[Any], Awaitable[Object]], names: Iterable[Any]
) -> BoundedListing:
    """Return what `names` name, as much as there is room for: tenants decide how much that is."""
    found = BoundedListing()
    for name in names:
        if len(found.items) == MAX_ONE_BY_ONE:
            found.cut = True
        if found.cut or not found.take(await read(name)):
            break
    return found


def _size(item: Object) -> int:
    return len(json.dumps(item))


_used: ContextVar[list[datetime] | None] = ContextVar("_used", default=None)


@contextmanager
def times_of_answers() -> Iterator[list[datetime]]:
    """Yield a list of when each shared answer was asked for that the block uses, in this task.

    What is made of an answer is as old as the answer, though it was shared a moment ago.
    """
    times: list[datetime] = []
    token = _used.set(times)
    try:
        yield times
    finally:
        _used.reset(token)


@dataclass(slots=True)
class _ReadResult:
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    value: Any = None
    at: float = float("-inf")
    asked_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    size: int = 0


class Reads:
    """Reads of the cluster; those that are asked for again soon are shared."""

    def __init__(
        self,
        cluster: ClusterConnection,
        fresh: timedelta,
        retry_after: timedelta,
        kept_bytes: int = MAX_KEPT_BYTES,
    ) -> None:
        self._cluster = cluster
        self._kept_bytes = kept_bytes
        self._fresh = fresh.total_seconds()
        self.retry_after = retry_after.total_seconds()
        """Seconds before what failed for a moment is asked for a second time."""
        self._answers: OrderedDict[tuple[str, ...], _ReadResult] = OrderedDict()
        self._listing = anyio.Lock()

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """Return an object. Raises `NotFound`, which is not shared."""
        objects = Objects(self._cluster, resource)
        key = (resource.api_version, resource.plural, namespace or "", name)
        read = partial(objects.get, name, namespace, most=OBJECT)
        found: Object = await self._shared(key, read)
        return found

    async def all(self, resource: Resource, namespace: str | None = None) -> BoundedListing:
        """Return all objects, in a namespace or everywhere, as many as fit into `MAX_LISTING`."""
        key = (resource.api_version, resource.plural, namespace or "")
        found: BoundedListing = await self._shared(key, lambda: self._list(resource, namespace))
        return found

    async def list_now(
        self, resource: Resource, namespace: str, *, field_selector: str
    ) -> BoundedListing:
        """Return objects that only one checkpoint asks for: never shared."""
        return await self._list(resource, namespace, field_selector)

    async def get_now(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """Return an object as it is now."""
        return await Objects(self._cluster, resource).get(name, namespace, most=OBJECT)

    async def _list(
        self, resource: Resource, namespace: str | None, field_selector: str = ""
    ) -> BoundedListing:
        """Read page by page, one listing at a time: tenants decide how large their objects are."""
        found = BoundedListing()
        objects = Objects(self._cluster, resource)
        pages = objects.pages(namespace, field_selector=field_selector, most=ANSWER)
        async with self._listing, aclosing(pages) as read:
            async for page in read:
                for item in page.items:
                    if not found.take(item):
                        return found
        return found

    async def _shared(self, key: tuple[str, ...], read: Callable[[], Awaitable[Any]]) -> Any:
        answer = self._answers.setdefault(key, _ReadResult())
        self._answers.move_to_end(key)
        self._let_go(key)
        async with answer.lock:
            if time.monotonic() - answer.at > self._fresh:
                # From before the request: what changes while it is answered may be missing.
                asked_at = datetime.now(UTC)
                answer.value = await read()
                answer.asked_at = asked_at
                answer.at = time.monotonic()
                found = answer.value
                answer.size = found.size if isinstance(found, BoundedListing) else _size(found)
            value = answer.value
            if (used := _used.get()) is not None:
                used.append(answer.asked_at)
        self._let_go(key)
        return value

    def _let_go(self, kept: tuple[str, ...]) -> None:
        """Keep neither too many answers, nor old ones that nobody has asked for again."""
        old = time.monotonic() - self._fresh
        held = sum(answer.size for answer in self._answers.values())
        for key, answer in list(self._answers.items()):
            if answer.lock.locked() or key == kept:
                return
            if len(self._answers) <= MAX_KEPT and held <= self._kept_bytes and answer.at >= old:
                return
            held -= answer.size
            del self._answers[key]
