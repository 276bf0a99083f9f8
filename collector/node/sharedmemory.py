"""System V shared memory of a container, and message queues: they live on without any process.

The kernel shows those of the reader's IPC namespace only, so a thread enters the container's. POSIX
queues are there whether their file system is mounted in the container or not.

Source: sysvipc(7), proc_sysvipc(5), mq_overview(7)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from collector.files.mounts import enter, mount_queues
from collector.files.safe_open import opened
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


class Queue(NamedTuple):
    """One message queue."""

    name: str
    """Of a POSIX queue its name, else its number."""
    posix: bool
    size: int
    """Bytes of the messages in it."""


def segments(pids: Sequence[int]) -> list[Segment | Queue]:
    """Return the segments and queues of the IPC namespaces of these processes.

    Those of the machine's own are left out.

    Raises `OSError` where a namespace may not be entered.
    """
    spaces: dict[bytes, int] = {}
    for pid in pids:
        with suppress(OSError), Process.open(pid) as process:
            spaces.setdefault(process.link("ns/ipc"), pid)
    spaces.pop(os.fsencode(Path("/proc/self/ns/ipc").readlink()), None)
    found: list[Segment | Queue] = []
    for pid in islice(spaces.values(), MAX_SPACES):
        with Process.open(pid) as process:
            space = os.open("ns/ipc", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process.folder)
            with opened(space), ThreadPoolExecutor(1, "ipc") as pool:
                found += pool.submit(_read, space).result()
    return found


def _read(space: int) -> list[Segment | Queue]:
    enter(space, _CLONE_NEWIPC)
    shared = (
        Segment(int(row[1]), int(row[0]) & 0xFFFFFFFF, int(row[3]), int(row[4]), int(row[6]))
        for row in _table("shm")
    )
    queues = (Queue(row[1].decode(), False, int(row[3])) for row in _table("msg"))
    return [*shared, *queues, *_posix_queues()]


def _table(name: str) -> list[list[bytes]]:
    with Path(f"/proc/sysvipc/{name}").open("rb") as table:
        return [line.split() for line in islice(table, 1, MAX_SEGMENTS + 2)]


def _posix_queues() -> Iterator[Queue]:
    """Yield the queues of this thread's IPC namespace."""
    with opened(mount_queues()) as folder, os.scandir(folder) as entries:
        for entry in islice(entries, MAX_SEGMENTS + 1):
            size = 0
            with suppress(OSError, ValueError, IndexError):
                flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
                with opened(os.open(entry.name, flags, dir_fd=folder)) as queue:
                    size = int(os.read(queue, 200).split()[0].partition(b":")[2])
            yield Queue(entry.name, True, size)
