"""How fast a node is read: so many bytes a second on average, whoever reads them::

    rate_limit = RateLimit(100 * 1024 * 1024)
    await rate_limit.turn()
    rate_limit.spent(len(block))

What was read is paid for before more is read: a pipe fills up meanwhile, and its writer waits.
"""

from __future__ import annotations

import anyio


class RateLimit:
    """A rate that all streams of a capture share; 0 is as fast as it goes."""

    def __init__(self, rate: int = 0) -> None:
        self.rate = rate
        """Bytes a second."""
        self._paid = 0.0
        """When all that was read so far will be paid for, by the event loop's clock."""

    async def turn(self) -> None:
        """Wait until more may be read."""
        await anyio.sleep_until(self._paid)

    def spent(self, size: int) -> None:
        """Count `size` bytes that were read."""
        if self.rate:
            self._paid = max(self._paid, anyio.current_time()) + size / self.rate
