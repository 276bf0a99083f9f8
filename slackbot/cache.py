"""A small cache of answers that may be believed for a while."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio

T = TypeVar("T")


class SharedAnswers(Generic[T]):
    """Keeps `limit` answers by key; whoever asks for the same at once waits for one answer.

    An error is nobody's answer: it is raised, and the next one asks again.
    """

    def __init__(self, seconds: float, limit: int = 5000) -> None:
        self._seconds = seconds
        self._limit = limit
        self._known: dict[str, tuple[float, T]] = {}
        self._locks: dict[str, anyio.Lock] = {}

    async def get(self, key: str, load: Callable[[], Awaitable[T]]) -> T:
        """Return the answer for `key`, from `load` where there is none that is fresh."""
        async with self._locks.setdefault(key, anyio.Lock()):
            known = self._known.get(key)
            if known and anyio.current_time() < known[0]:
                return known[1]
            # From before the call: the answer may have been outdated while it was on its way.
            asked = anyio.current_time()
            value = await load()
            self._known[key] = (asked + self._seconds, value)
        if len(self._known) > self._limit:
            self._forget()
        return value

    def _forget(self) -> None:
        now = anyio.current_time()
        fresh = {key: one for key, one in self._known.items() if one[0] > now}
        # All of them fresh: it is cheaper to ask again than to sort by age.
        self._known = fresh if len(fresh) <= self._limit else {}
        # A lock that somebody holds is kept, so that nobody asks twice.
        self._locks = {
            key: lock
            for key, lock in self._locks.items()
            if key in self._known or lock.statistics().locked
        }
