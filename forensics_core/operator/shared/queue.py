"""A queue of keys: each is in it at most once, and with one worker at a time.

A key that is added while a worker has it comes again afterwards. Failures are tried again after a
pause that grows; so there are never more entries than there are objects. Keys have degrees of
urgency: the most urgent come first, but never only they, so that nobody waits for ever.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from itertools import count

import anyio
import anyio.lowlevel

from forensics_core._internal.backoff import Backoff
from forensics_core.api.urgency import Urgency

FIRST_PAUSE, LONGEST_PAUSE = 0.4, 120.0
"""Seconds before a failed key is tried again, at most: after its first failure, and ever."""
IN_TURN = 4
"""Of so many keys that are taken, one is the one that has waited longest, however urgent."""


def _alike(_: str) -> Urgency:
    return Urgency.REST


class WorkQueue:
    """Keys that want a look, now or later; `urgency` says how urgent one is when it is taken up."""

    def __init__(self, urgency: Callable[[str], Urgency] = _alike) -> None:
        self._urgency = urgency
        self._ready: OrderedDict[str, Urgency] = OrderedDict()
        """In the order in which they came."""
        self._lanes: dict[Urgency, OrderedDict[str, None]] = {
            each: OrderedDict() for each in Urgency
        }
        self._taken_out = 0
        self._taken: set[str] = set()
        self._again: set[str] = set()
        self._later: list[tuple[float, int, str]] = []
        self._due: dict[str, float] = {}
        self._failed: dict[str, Backoff] = {}
        self._order = count()
        self._news = anyio.Event()

    @property
    def depth(self) -> int:
        """Keys that are ready and that no worker has yet."""
        return len(self._ready)

    def add(self, key: str) -> None:
        """Ask for a look at `key` as soon as a worker is free."""
        if key in self._taken:
            self._again.add(key)
            return
        urgency, known = self._urgency(key), self._ready.get(key)
        if known is not None:
            if urgency >= known:
                return
            self._lanes[known].pop(key)
        # One that was there already keeps its place among all that came.
        self._ready[key] = urgency
        self._lanes[urgency][key] = None
        self._wake()

    def add_after(self, key: str, seconds: float) -> None:
        """Ask for a look at `key` after a while; of several such wishes the earliest counts."""
        due = anyio.current_time() + seconds
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._later, (due, next(self._order), key))
            self._wake()

    def retry(self, key: str) -> float:
        """Ask for another look after a failure; return the pause in seconds."""
        pause = self._failed.setdefault(key, Backoff(FIRST_PAUSE, LONGEST_PAUSE)).next()
        self.add_after(key, pause)
        return pause

    @property
    def failing(self) -> Collection[str]:
        """Keys whose last look failed: they come again after a pause."""
        return self._failed.keys()

    def succeeded(self, key: str) -> None:
        """Forget the failures of `key`."""
        self._failed.pop(key, None)

    @asynccontextmanager
    async def take(self) -> AsyncIterator[str]:
        """Wait for a key, and have it to oneself for the block."""
        key = await self._next()
        self._taken.add(key)
        try:
            yield key
        finally:
            self._taken.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)

    async def _next(self) -> str:
        while True:
            # A look that needs no request never waits; after a start there are thousands of them.
            await anyio.lowlevel.checkpoint()
            self._ripen()
            if self._ready:
                return self._pop()
            self._news = news = self._news if not self._news.is_set() else anyio.Event()
            until = self._later[0][0] if self._later else float("inf")
            with anyio.CancelScope(deadline=until):
                await news.wait()

    def _pop(self) -> str:
        """Take out the most urgent key, or now and then the one that came first."""
        self._taken_out += 1
        if self._taken_out % IN_TURN:
            key = next(next(iter(lane)) for lane in self._lanes.values() if lane)
        else:
            key = next(iter(self._ready))
        self._lanes[self._ready.pop(key)].pop(key)
        return key

    def _ripen(self) -> None:
        """Make ready what is due."""
        now = anyio.current_time()
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)

    def _wake(self) -> None:
        self._news.set()
