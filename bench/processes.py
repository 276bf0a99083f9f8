"""What processes cost, from /proc: memory of a whole tree while it runs, CPU time of a daemon.

Source: proc(5).
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PEAK = re.compile(rb"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_FLAGS, _CHILDREN_TIMES = 6, slice(11, 15)
"""In /proc/PID/stat, behind the name: flags; utime, stime, cutime, cstime."""
_FORKNOEXEC = 0x40
"""Of the flags: forked, but not executed anything yet; linux/sched.h."""


class PeakMemory:
    """The peak memory of a process and all its descendants, by sampling.

    The kernel keeps each process's own peak, so only what the last interval of its life added can
    be missed.
    """

    def __init__(self, pid: int) -> None:
        self._root = pid
        self._seen: set[int] = set()
        self.largest = 0
        """Bytes: the highest peak of a single process."""
        self.together = 0
        """Bytes: the highest sum of the peaks of processes that lived at the same time.

        That is an upper bound: shared pages count for each, and not all peak at once. A child
        shares all its parent's memory until it becomes its own program, mostly for less than a
        millisecond; one that does not become any counts from the second look at it on.
        """

    def sample(self) -> None:
        """Look at every living process of the tree once."""
        family = set(_family(self._root))
        shared = {pid for pid in family - self._seen if _newly_forked(pid)}
        peaks = [_peak(pid) for pid in family - shared]  # Only now: it may be another one by then.
        self.largest = max([self.largest, *peaks])
        self.together = max(self.together, sum(peaks))
        self._seen = family


def children(pid: int) -> list[int]:
    """Return the living children of a process, zombies included; none if it has ended."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def _family(pid: int) -> Iterator[int]:
    yield pid
    for child in children(pid):
        yield from _family(child)


def _peak(pid: int) -> int:
    """Return the process's peak in bytes, 0 if it has ended."""
    with suppress(OSError):
        found = _PEAK.search(Path(f"/proc/{pid}/status").read_bytes())
        return int(found[1]) * 1024 if found else 0
    return 0


def _newly_forked(pid: int) -> bool:
    """Whether a process still is what its parent was."""
    with suppress(OSError):
        return bool(int(_stat(pid)[_FLAGS]) & _FORKNOEXEC)
    return False


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process and its ended children have used so far, in seconds."""
    return sum(map(int, _stat(pid)[_CHILDREN_TIMES])) / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def daemon_behind(host: str, name: str) -> int | None:
    """Return the process called `name` that listens at `unix://PATH`; None where another does.

    With socket activation, for one, the kernel names the service manager: unix(7), SO_PEERCRED.
    """
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(host.removeprefix("unix://"))
        said = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", said)[0]
    with suppress(OSError):
        if Path(f"/proc/{pid}/comm").read_text().strip() == name:
            return pid
    return None
