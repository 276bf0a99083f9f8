"""Which files were written when: what makes an archive's remarks exact.

::

    begin = time.monotonic()
    ...  # read the archive
    if await writes.settled():
        for path in writes.between(begin, time.monotonic()): ...
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from anyio import to_thread

SETTLING = 5.0
"""Seconds that whoever reads the kernel's queue may take to come to its end."""
_ROOM = 4 * 1024 * 1024
"""Bytes that the names may have."""


@dataclass(slots=True)
class Writes:
    """The files of the container's root mount that were written; made and asked in any thread."""

    limit: int
    """Names that are kept."""
    missed: list[float] = field(default_factory=list)
    """When names were lost, first and last: too many of them, or the kernel's queue was full."""
    wake: int = field(default_factory=lambda: os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
    """Readable where somebody waits for the queue to be read."""
    _asking: list[threading.Event] = field(default_factory=list)
    _times: dict[bytes, tuple[float, float]] = field(default_factory=dict)
    _room: int = _ROOM
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def close(self) -> None:
        """Give back what it takes: from now on nothing is noted."""
        with self._lock:
            if self.wake >= 0:
                os.close(self.wake)
                self.wake = -1
            for done in self._asking:
                done.set()

    def add(self, path: bytes, time: float) -> None:
        """Note that a file was written, `time` by the monotonic clock."""
        with self._lock:
            first, _ = self._times.get(path, (time, time))
            if path not in self._times:
                if len(self._times) >= self.limit or len(path) > self._room:
                    self.miss(time)
                    return
                self._room -= len(path)
            self._times[path] = first, time

    def miss(self, time: float) -> None:
        """Note that what was written around `time` is not known."""
        self.missed[1:] = [time]

    def between(self, begin: float, end: float) -> Iterator[bytes]:
        """Yield the files that were written in that time, as far as it is known of each.

        Of one that was written before and after only the first and the last time are known: it is
        yielded, too.
        """
        with self._lock:
            found = [path for path, (first, last) in self._times.items() if first <= end]
            times = self._times.copy()
        yield from (path for path in found if times[path][1] >= begin)

    def is_whole(self, begin: float, end: float) -> bool:
        """Whether nothing was lost in that time."""
        return not self.missed or self.missed[0] > end or self.missed[-1] < begin

    async def settled(self) -> bool:
        """Wait until all is noted that was written before now; return whether it is."""
        done = await to_thread.run_sync(self._ask)
        in_time = await to_thread.run_sync(done.wait, SETTLING, abandon_on_cancel=True)
        return in_time and self.wake >= 0

    def _ask(self) -> threading.Event:
        done = threading.Event()
        with self._lock:
            if self.wake < 0:
                done.set()
            else:
                self._asking.append(done)
                os.eventfd_write(self.wake, 1)
        return done

    def asking(self) -> list[threading.Event]:
        """Return who waits by now, before the queue is read; they are told with `answer`."""
        with self._lock:
            with suppress(BlockingIOError):
                os.eventfd_read(self.wake)
            return [*self._asking]

    def answer(self, asking: list[threading.Event]) -> None:
        """Let those go on who waited before the queue was read to its end."""
        with self._lock:
            for done in asking:
                self._asking.remove(done)
                done.set()
