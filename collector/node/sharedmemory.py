"""System V shared memory of a container: segments live on without any process, and have no file.

The kernel shows those of the reader's IPC namespace only, so a thread enters the container's.

Source: sysvipc(7), proc_sysvipc(5)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from collector.files.beneath import opened
from collector.files.mounts import enter
from collector.node.procfs import Process

_CLONE_NEWIPC = 0x08000000
MAX_SEGMENTS = 200
"""Segments that are listed."""
MAX_SPACES = 16


class Segment(NamedTuple):
    """One segment."""

    number: int
    key: int
    size: int
    creator: int
    """The process that made it, as the container numbers it."""
    attached: int


def segments(pids: Sequence[int]) -> list[Segment]:
    """Return the segments of the IPC namespaces of these processes, but not of the machine's own.

    Raises `OSError` where a namespace may not be entered.
    """
    spaces: dict[bytes, int] = {}
    for pid in pids:
        with suppress(OSError), Process.open(pid) as process:
            spaces.setdefault(process.link("ns/ipc"), pid)
    spaces.pop(os.fsencode(Path("/proc/self/ns/ipc").readlink()), None)
    found: list[Segment] = []
    for pid in islice(spaces.values(), MAX_SPACES):
        with Process.open(pid) as process:
            space = os.open("ns/ipc", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process.folder)
            with opened(space), ThreadPoolExecutor(1, "ipc") as pool:
                found += pool.submit(_read, space).result()
    return found


def _read(space: int) -> list[Segment]:
    enter(space, _CLONE_NEWIPC)
    with Path("/proc/sysvipc/shm").open("rb") as table:
        rows = [line.split() for line in islice(table, 1, MAX_SEGMENTS + 2)]
    return [
        Segment(int(row[1]), int(row[0]) & 0xFFFFFFFF, int(row[3]), int(row[4]), int(row[6]))
        for row in rows
    ]
