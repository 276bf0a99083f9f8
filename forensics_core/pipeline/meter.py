"""Counters of what passed, for progress bars and status."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Meter:
    """Bytes and artifacts so far. Written by the event loop only, read by whoever shows it."""

    bytes_read: int = 0
    """Bytes taken from sources, before compression."""
    bytes_stored: int = 0
    """Bytes handed to the destination, after compression."""
    bytes_total: int = 0
    """Bytes that will be read in all; 0 where nobody knows, as with a live source."""
    artifacts_done: int = 0
    artifacts_total: int = 0
    current: str = ""
    """The artifact under way; of several, the one that takes the longest."""
    started: float = field(default_factory=time.monotonic)
    _under_way: list[str] = field(default_factory=list)

    @contextmanager
    def during(self, name: str) -> Iterator[None]:
        """Show `name` as under way in the block, unless another one began before and still is."""
        self._under_way.append(name)
        self.current = self._under_way[0]
        try:
            yield
        finally:
            self._under_way.remove(name)
            self.current = self._under_way[0] if self._under_way else ""

    @property
    def seconds(self) -> float:
        """Seconds since the meter was made, by the monotonic clock."""
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Bytes a second, read, on average."""
        # The clock is coarse: a meter that was just made may be no seconds old.
        return self.bytes_read / self.seconds if self.seconds else 0.0
