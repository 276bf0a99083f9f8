"""Trouble on purpose: errors, empty bodies, cut connections, silent streams, stale reads."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import anyio

from forensics_loopback.kinds.objects import Obj
from forensics_loopback.server.requests import RequestInfo
from forensics_loopback.storage.store import Store


@dataclass(slots=True)
class Fault:
    """What happens to the next matching requests."""

    verb: str = "*"
    """A verb, or a pattern such as `*`."""
    resource: str = "*"
    """A plural with its subresource: `podcheckpoints/status`, `pods/*`."""
    times: int = 1
    """For how many requests; the fault is spent afterwards."""
    skip: int = 0
    """How many matching requests pass unharmed first."""
    status: int = 503
    body: str | None = None
    """Sent as it is, `""` for an empty one; None sends a Status."""
    headers: Mapping[str, str] = field(default_factory=dict)
    reset: bool = False
    """Cut the connection instead of answering."""
    executed: bool = False
    """The request is carried out all the same: only its answer is lost."""

    def matches(self, info: RequestInfo) -> bool:
        """Whether the request is of this fault's kind."""
        return fnmatch.fnmatchcase(info.verb, self.verb) and fnmatch.fnmatchcase(
            info.resource, self.resource
        )


WRITES = "[cupd]*"
"""A pattern for `Fault.verb`: create, update, patch and delete."""


class Countable(Protocol):
    """A fault that happens `times` times, after `skip` matching requests."""

    times: int
    skip: int


AnyFault = TypeVar("AnyFault", bound=Countable)


class FaultQueue(Generic[AnyFault]):
    """The faults that have not happened yet; each request meets the first one that matches."""

    def __init__(self) -> None:
        self._waiting: list[AnyFault] = []
        self._happened: anyio.Event | None = None

    def add(self, fault: AnyFault) -> AnyFault:
        """Let a fault happen; it is spent once its `times` are 0."""
        self._waiting.append(fault)
        return fault

    @property
    def waiting(self) -> int:
        """How many have not happened yet."""
        return len(self._waiting)

    def clear(self) -> None:
        """No more trouble."""
        self._waiting.clear()

    def first(self, matches: Callable[[AnyFault], bool]) -> AnyFault | None:
        """Return the fault that a request meets, if any, and count it."""
        for fault in self._waiting:
            if not matches(fault):
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            fault.times -= 1
            if fault.times <= 0:
                self._waiting.remove(fault)
            self._announce()
            return fault
        return None

    async def until_spent(self, fault: AnyFault) -> None:
        """Wait until a fault has happened for the last time."""
        while any(one is fault for one in self._waiting):
            self._happened = self._happened or anyio.Event()
            await self._happened.wait()

    def _announce(self) -> None:
        if self._happened:
            self._happened.set()
        self._happened = None


class Faults(FaultQueue[Fault]):
    """The faults of a cluster, and what else its answers can be made to lack."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store
        self._frozen: dict[str, list[Obj]] = {}
        self.idle = False
        """While true, watches stay open and say nothing, bookmarks included."""
        self.skipped_events: dict[str, int] = {}
        """How many of the next changes each watch of a plural leaves out."""

    def clear(self) -> None:
        """No more trouble."""
        super().clear()
        self._frozen.clear()
        self.skipped_events.clear()
        self.idle = False

    def take(self, info: RequestInfo) -> Fault | None:
        """The fault that this request meets, if any."""
        return self.first(lambda fault: fault.matches(info))

    @contextmanager
    def stale_reads(self, key: str) -> Iterator[None]:
        """Within the block, gets and lists of a resource answer as of the block's beginning.

        `key` is the qualified plural: `podcheckpoints.forensics.orkaproj.io`, `pods`.
        """
        self._frozen[key] = self._store.objects(key)
        try:
            yield
        finally:
            self._frozen.pop(key, None)

    def frozen(self, key: str) -> list[Obj] | None:
        """What reads of the resource show instead of the present, or None."""
        return self._frozen.get(key)
