"""Which files were written when: what makes an archive's remarks exact.

::

    begin = time.monotonic()
    ...  # read the archive
    if await writes.settled():
        for path in writes.between(begin, time.monotonic()): ...

GNU tar compares a file's times and size before and after: it misses what is written and put back,
and what is written between two files that belong together.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anyio import to_thread

from collector.documents import readable
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import SourceNotes
from forensics_core.storage.objects import Buffer

if TYPE_CHECKING:
    from collector.container import ContainerCapture

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


WRITTEN = "written while the archive was read, as recorded"
"""The remark on each."""


async def noting_writes(
    capture: ContainerCapture, notes: SourceNotes, blocks: AsyncIterator[Buffer]
) -> AsyncIterator[Buffer]:
    """Pass the blocks of an archive of the root on, and note what was written meanwhile."""
    begin, settled = time.monotonic(), capture.writes is None
    try:
        async for block in blocks:
            yield block
        if capture.writes is not None:
            settled = await capture.writes.settled()
    finally:
        _note(capture, notes, begin, settled)


def _note(capture: ContainerCapture, notes: SourceNotes, begin: float, settled: bool) -> None:
    if capture.writes is None:
        return
    end = time.monotonic()
    # What tar noticed it says of the same member: one remark is enough.
    there = {remark.path for remark in notes.remarks}
    for path in capture.writes.between(begin, end):
        notes.flags.add(Flag.CHANGED_WHILE_READ)
        if (member := readable(b"." + path)) not in there:
            notes.remark(member, WRITTEN)
    if not settled or not capture.writes.is_whole(begin, end):
        message = "More was written while the files were read than could be recorded by name"
        what = "names of files written while read"
        capture.record_gap(what, "ChangedWhileRead", message, requested=False)
