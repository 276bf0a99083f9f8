"""Which numbers have a process, asked one by one: what a listing of /proc leaves out shows itself.

::

    probe = Probe(host_proc(), until=time.monotonic() + 0.2)
    hidden = [number for number in probe.look(range(1, 32768), listed) if ...]

By kill(2) where this process sees the same processes, which asks the kernel without /proc; else by
looking for the number in /proc, where a Job has the node's.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

STEP = 2048
"""Numbers that are asked for between two looks at the clock."""
RESERVE = 4096
"""Numbers above all that were given out so far, for those given out while we ask."""


@dataclass(slots=True)
class Probe:
    """A round through the numbers; it blocks."""

    proc: Path
    until: float
    """When to end, by the monotonic clock."""
    left: int = 0
    """Numbers that there was no time for."""
    _same: bool = field(init=False)

    def __post_init__(self) -> None:
        self._same = same_pid_namespace(self.proc)

    def look(self, numbers: Sequence[int], listed: Collection[int]) -> Iterator[int]:
        """Yield the numbers of processes and threads that are not among the `listed`.

        There are up to four million `numbers`, of which only some are held: a `range` is best.
        """
        for start in range(0, len(numbers), STEP):
            if time.monotonic() >= self.until:
                rest = numbers[start:]
                self.left += len(rest) - sum(number in rest for number in listed)
                return
            part = [number for number in numbers[start : start + STEP] if number not in listed]
            yield from self._alive(part) if self._same else self._existing(part)

    def _existing(self, numbers: list[int]) -> Iterator[int]:
        folder = os.open(self.proc, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for number in numbers:
                if os.access(str(number), os.F_OK, dir_fd=folder):
                    yield number
        finally:
            os.close(folder)

    @staticmethod
    def _alive(numbers: list[int]) -> Iterator[int]:
        kill = _kill()
        for number in numbers:
            # A refusal says that there is one, too.
            if kill(number, 0) == 0 or ctypes.get_errno() == errno.EPERM:
                yield number


def same_pid_namespace(proc: Path) -> bool:
    """Whether this process numbers processes as `proc` does."""
    with suppress(OSError):
        return (proc / "self").readlink() == Path(str(os.getpid()))
    return False


def latest(proc: Path) -> int:
    """Return a number that was given out lately, our own as `proc` has it; 0 if it does not."""
    with suppress(OSError, ValueError):
        return int(os.fsencode((proc / "self").readlink()))
    return 0


def highest(proc: Path) -> int:
    """Return the highest number that a process can have by now.

    Numbers are given out in order: where fewer processes and threads were ever made than there are
    numbers, those above were never used. 0 where /proc does not tell.
    """
    with suppress(OSError, ValueError, IndexError):
        limit = int((proc / "sys/kernel/pid_max").read_bytes())
        lines = (proc / "stat").read_bytes().split(b"\n")
        made = [int(line.split()[1]) for line in lines if line.startswith(b"processes ")]
        return min([limit, *(number + RESERVE for number in made)])
    return 0


@cache
def _kill() -> ctypes._FuncPointer:
    # It does not let other threads run meanwhile: the call is shorter than that would take.
    return ctypes.PyDLL(None, use_errno=True).kill
