"""Which processes are the container's, while they come and go.

Most are known by their parents, as the kernel tells of forks: one that has ended by the time that
it is asked for is known all the same. One that enters the container from outside is known by its
cgroup, once it runs something.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress

from collector.node.procfs import Boundary, Process, companions, pids

MAX_KNOWN = 64 * 1024
"""Processes that are known at the same time; a kernel counts no more than that by default."""
MAX_ENDED = 8192
"""Processes of which it is remembered that they were the container's."""


class ContainerProcesses:
    """The processes of the container `key` whose first one is `first`; it blocks.

    Raises `OSError` where that one has ended.
    """

    def __init__(self, first: int, key: str, most: int = MAX_KNOWN) -> None:
        self.first = first
        self._key = key
        self._boundary = Boundary(first, key)
        self.known: set[int] = set()
        self._most = most
        self.more = 0
        """Times that there was one too many."""
        self._ended = OrderedDict[int, None]()
        self._seen: set[int] = set()
        """All processes of the last listing."""
        self.refresh()

    def refresh(self) -> None:
        """List them anew: what the kernel told may have been lost."""
        with suppress(OSError):
            found = companions(self.first, self._key)
            self.more += max(len(found) - self._most, 0)
            self.known = {*found[: self._most]}

    def forked(self, pid: int, parent: int) -> bool:
        """Take note of a new process; return whether it is one of them."""
        if parent not in self.known:
            return False
        if len(self.known) >= self._most:
            self.more += 1
            return False
        self.known.add(pid)
        return True

    def ended(self, pid: int) -> bool:
        """Take note of an end; return whether it was one of them."""
        if pid not in self.known:
            return False
        self.known.discard(pid)
        self._ended[pid] = None
        if len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)
        return True

    def holds(self, pid: int) -> bool | None:
        """Whether a process is one of them; None where it has ended, and nobody knows."""
        if pid in self.known:
            return True
        with suppress(OSError), Process.open(pid) as process:
            if not self._boundary.holds(process):
                return False
            self.known.add(pid)
            return True
        return True if pid in self._ended else None

    def compare(self) -> tuple[Iterable[int], Iterable[int]]:
        """List all processes: return which of them came, and which ended, since the last time."""
        there = {*pids()}
        new = [pid for pid in there - self._seen - self.known if self.holds(pid)]
        gone = [pid for pid in self.known - there if self.ended(pid)]
        self._seen = there
        return sorted(new), sorted(gone)
