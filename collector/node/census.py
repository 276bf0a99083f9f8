"""Which processes are a container's, where the same is asked for one container after the other.

::

    census.keep(listed)
    own = [pid for pid in listed if census.holds(boundary, pid)]

Whoever asks lists /proc anew each time, so that no process is missed that has just begun. What
tells where a process belongs is read again after a moment: on a node with many processes, a pod
with many containers would otherwise spend most of its time on reading it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache

from collector.node.procfs import MAX_BYTES, Boundary, Process, parse_cgroups

SECONDS = 0.3
"""For how long is believed what was read of a process."""
_SPACES = ("ns/pid", "ns/mnt")
_parsed = lru_cache(256)(parse_cgroups)
"""Most processes say the same as many others."""


class KnownProcess(Process):
    """Where a process belonged when it was looked at, for `Boundary.holds`; it is not open."""

    def __init__(self, process: Process, until: float) -> None:
        super().__init__(process.pid, -1)
        self.until = until
        """When that is to be read again."""
        self._cgroup = process.read("cgroup")
        self._status = b""
        self._links = dict[str, bytes | OSError]()
        for name in _SPACES:
            try:
                self._links[name] = process.link(name)
            except OSError as error:
                self._links[name] = error

    def cgroups(self) -> dict[str, str]:
        """Return the path of each hierarchy's cgroup."""
        return _parsed(self._cgroup)

    def link(self, name: str) -> bytes:
        """Return its PID or mount namespace. Raises `OSError`, as it was when it was looked at."""
        link = self._links[name]
        if isinstance(link, OSError):
            raise type(link)(link.errno, link.strerror)
        return link

    def read(self, name: str, limit: int = MAX_BYTES) -> bytes:
        """Return its status, which is read when it is first asked for: few are. Raises `OSError`"""
        if not self._status:
            with Process.open(self.pid) as process:
                self._status = process.read(name, limit)
        return self._status


@dataclass(slots=True)
class Census:
    """The node's processes as they were a moment ago; several threads may ask at once."""

    seconds: float = SECONDS
    clock: Callable[[], float] = time.monotonic
    _known: dict[int, KnownProcess] = field(default_factory=dict)

    def keep(self, listed: Iterable[int]) -> None:
        """Forget all processes but these: another may have the number of one that has ended."""
        # Other threads may put in more meanwhile: then those are read again.
        known = self._known
        self._known = {pid: known[pid] for pid in listed if pid in known}

    def holds(self, boundary: Boundary, pid: int) -> bool:
        """Whether a process is within the boundary; one that has ended is not."""
        with suppress(OSError):
            return boundary.holds(self._look(pid))
        return False

    def _look(self, pid: int) -> KnownProcess:
        known, now = self._known.get(pid), self.clock()
        if known is None or now >= known.until:
            with Process.open(pid) as process:
                known = self._known[pid] = KnownProcess(process, now + self.seconds)
        return known
