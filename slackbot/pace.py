"""Keeping a distance in time between calls: the urgent first, else first come, first served."""

from __future__ import annotations

import heapq
import itertools

import anyio

URGENT, ORDINARY = 0, 1
"""Ranks of those who wait: the lower goes first."""
GLANCE = 0.005
"""Seconds after which whoever is not the first looks again."""


class Pace:
    """Turns that are at least `seconds` apart."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = float("-inf")
        self._waiting: list[tuple[int, int]] = []
        self._numbers = itertools.count()

    async def turn(self, rank: int = ORDINARY) -> None:
        """Return when it is the caller's turn."""
        ticket = (rank, next(self._numbers))
        heapq.heappush(self._waiting, ticket)
        try:
            while self._waiting[0] != ticket or anyio.current_time() < self._next:  # noqa: ASYNC110
                # Time passes, and no event with it.
                await anyio.sleep(max(self._next - anyio.current_time(), GLANCE))
            self._next = anyio.current_time() + self._seconds
        finally:
            self._waiting.remove(ticket)
            heapq.heapify(self._waiting)
