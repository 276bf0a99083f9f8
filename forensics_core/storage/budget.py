"""A budget of bytes that several uploads share."""

from __future__ import annotations

import anyio

MIB = 1024 * 1024


class ByteBudget:
    """At most `total` bytes reserved at any time; those who wait are served in turn.

    Nobody waits while nothing is under way that will give bytes back by itself: all that is
    reserved then is being filled, perhaps by somebody who waits for the one who asks. The index of
    an archive is, in whose step the archive goes on. Only then is the budget overdrawn.
    """

    def __init__(self, total: int = 48 * MIB) -> None:
        if total <= 0:
            raise ValueError("a budget must be positive")
        self.total = total
        self.reserved = 0
        self.leaving = 0
        """Bytes of `reserved` that are being sent, and come back when that is done."""
        self.waits = 0
        """How often somebody had to wait."""
        self.came_back = 0
        """Bytes that were being sent and came back, in all."""
        self._turn = anyio.Lock()
        self._returned = anyio.Event()

    async def reserve(self, size: int) -> None:
        """Wait until `size` bytes are free or nothing is leaving, and take them.

        More than the whole budget is given, too, but not before all else that left has gone.
        """
        # In turn: an object that asks for a large part would otherwise wait for as long as others
        # ask for small ones.
        async with self._turn:
            self.waits += bool(self.leaving and self.reserved + size > self.total)
            while self.leaving and self.reserved + size > self.total:
                # An event of its own for each wait, as one that was set stays so.
                self._returned = anyio.Event()
                await self._returned.wait()
            self.reserved += size

    def leave(self, size: int) -> None:
        """Count `size` of the reserved bytes as being sent."""
        self.leaving += size

    def gone(self, size: int) -> None:
        """Give `size` bytes back that were being sent."""
        self.leaving -= size
        self.came_back += size
        self.release(size)

    def release(self, size: int) -> None:
        """Give `size` bytes back that were not being sent."""
        self.reserved -= size
        self._returned.set()
