"""Threads that see another world than their process does.

A thread may leave the namespaces and the root that it shared with the others. What it sees then is
under its own number in /proc only, which no listing of /proc shows::

    others = SeparateThreads()
    others.look(pids)
    for thread in others.threads: ...

Source: unshare(2), proc_pid_task(5)
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from collector.files.safe_open import mount_number, opened
from collector.node.procfs import Process, read_link

MAX_THREADS = 64 * 1024
"""Threads of one container that are looked at."""
_SIGNS = ("ns/mnt", "ns/net", "ns/ipc", "root", "cwd")


@dataclass(slots=True)
class SeparateThreads:
    """A search through the threads of a container's processes; it blocks."""

    threads: list[int] = field(default_factory=list)
    """One thread for each other world; it can be opened like a process."""
    unseen: int = 0
    """Processes of which not all threads were looked at."""
    left: int = MAX_THREADS

    def look(self, pids: Iterable[int]) -> None:
        """Look at the threads of these processes."""
        for pid in pids:
            with suppress(OSError), Process.open(pid) as process:
                self._process(process)

    def _process(self, process: Process) -> None:
        numbers = process.numbers("task", self.left + 1)
        if len(numbers) > self.left:
            self.unseen += 1
            del numbers[self.left :]
        self.left -= len(numbers)
        if len(numbers) < 2:
            return
        seen = {_signs(process, ".")}
        for number in numbers:
            with suppress(OSError):
                signs = _signs(process, f"task/{number}")
                if signs not in seen:
                    seen.add(signs)
                    self.threads.append(number)


def _signs(process: Process, place: str) -> tuple[bytes, ...]:
    links = [read_link(f"{place}/{name}", process.folder) for name in _SIGNS]
    # What was unmounted is called by its path in itself: two tops are both "/".
    return *links, *(_mount(process, f"{place}/{name}") for name in ("root", "cwd"))


def _mount(process: Process, name: str) -> bytes:
    flags = os.O_PATH | os.O_CLOEXEC
    with opened(os.open(name, flags, dir_fd=process.folder)) as place:
        return b"%d" % mount_number(place)
