"""Keeping a distance in time between calls, first come, first served."""

from __future__ import annotations

import anyio


class Pace:
    """Turns that are at least `seconds` apart."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = float("-inf")

    async def turn(self) -> None:
        """Return when it is the caller's turn."""
        now = anyio.current_time()
        mine = max(now, self._next)
        self._next = mine + self._seconds
        await anyio.sleep(mine - now)
