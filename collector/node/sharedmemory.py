"""System V shared memory of a container, and message queues: they live on without any process.

The kernel shows those of the reader's IPC namespace only, so a thread enters the container's. POSIX
queues are there whether their file system is mounted in the container or not.

A segment that no process has attached is attached for a moment, read-only, to hold the file that it
is of: reading that file makes no page of a hole, as reading the memory would. Its times of the last
attach and detach, and who did that, are those of this moment then; what they were is in
`SharedSegment`.

Source: sysvipc(7), proc_sysvipc(5), mq_overview(7), shmat(2)
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from collector.files.mounts import enter, mount_queues
from collector.files.safe_open import opened
from collector.node.deletedfiles import SharedDescriptor
from collector.node.kernel_objects import KernelObjects
from collector.node.messages import QueuedMessage, messages_of
from collector.node.procfs import Process, host_proc

_CLONE_NEWIPC = 0x08000000
_SHM_RDONLY = 0o10000
_FAILED = ctypes.c_void_p(-1).value
MAX_SEGMENTS = 200
"""Segments that are listed."""
MAX_NAMESPACES = 64
"""IPC namespaces that are looked into."""


class SharedSegment(NamedTuple):
    """One segment."""

    number: int
    key: int
    size: int
    creator: int
    """The process that made it, as the container numbers it."""
    attached: int
    mode: int = 0
    owner: tuple[int, int] = (0, 0)
    """The user and the group that it belongs to."""
    last: int = 0
    """The process that attached or detached it last, as the container numbers it."""
    times: tuple[int, int, int] = (0, 0, 0)
    """When it was last attached, detached, and changed, in seconds since 1970."""
    space: bytes = b""
    """Its IPC namespace."""
    pid: int = 0
    """A process of that, as the node numbers it."""
    file: SharedDescriptor | None = None
    """The file that it is of, where it was asked for."""

    def facts(self) -> dict[str, Any]:
        """Return what the kernel's table says of it, as JSON has it."""
        names = "attached", "detached", "changed"
        return {
            "segment": self.number,
            "key": self.key,
            "mode": f"{self.mode:04o}",
            "creator": self.creator,
            "last": self.last,
            "attachedBy": self.attached,
            "times": dict(zip(names, self.times, strict=True)),
        }


class Queue(NamedTuple):
    """One message queue."""

    name: str
    """Of a POSIX queue its name, else its number."""
    posix: bool
    size: int
    """Bytes of the messages in it."""
    total: int = 0
    """The messages, where the kernel counts them."""
    messages: tuple[QueuedMessage, ...] = ()
    """Those that could be copied, from the first on; they are still in the queue."""
    space: bytes = b""
    """Its IPC namespace."""
    pid: int = 0
    """A process of that, as the node numbers it."""
    inode: int = 0
    """Of a POSIX queue."""


class UnreadNamespace(NamedTuple):
    """IPC namespaces, or the rest of one, that were not looked into."""

    spaces: int
    reason: str
    why: str


def segments(
    pids: Sequence[int],
    wanted: Callable[[bytes, int], bool] = lambda *_: False,
    most: int = MAX_NAMESPACES,
) -> list[SharedSegment | Queue | UnreadNamespace]:
    """Return the segments and queues of the IPC namespaces of these processes.

    Those of the machine's own are left out, and told where a container uses it. `wanted` says by
    namespace and number of which segments the file is to be held.

    Raises `OSError` where a namespace may not be entered.
    """
    spaces: dict[bytes, int] = {}
    for pid in pids:
        with suppress(OSError), Process.open(pid) as process:
            spaces.setdefault(process.link("ns/ipc"), pid)
    found: list[SharedSegment | Queue | UnreadNamespace] = []
    if spaces.pop(os.fsencode(Path("/proc/self/ns/ipc").readlink()), None) and _shares(pids):
        why = "Segments are in the node's own IPC namespace, which the container uses"
        found.append(UnreadNamespace(1, "OutOfScope", why))
    if more := len(spaces) - most:
        found += [UnreadNamespace(more, "TooMany", f"No more than {most} are read")] * (more > 0)
    for link, pid in islice(spaces.items(), most):
        with Process.open(pid) as process:
            space = os.open("ns/ipc", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process.folder)
            with opened(space), ThreadPoolExecutor(1, "ipc") as pool:
                found += pool.submit(_read, space, link, pid, partial(wanted, link)).result()
    return found


def _shares(pids: Sequence[int]) -> bool:
    """Whether one of these processes, or one that has ended, made a segment in our namespace."""
    creators = {int(row[4]) for row in _table("shm")}
    return any(pid in pids or not (host_proc() / str(pid)).exists() for pid in creators)


def _read(
    space: int, link: bytes, pid: int, wanted: Callable[[int], bool]
) -> list[SharedSegment | Queue | UnreadNamespace]:
    enter(space, _CLONE_NEWIPC)
    found: list[SharedSegment | Queue | UnreadNamespace] = []
    found += [_segment(row, link, pid, wanted) for row in _table("shm")]
    found += [_queue(row, link, pid) for row in _table("msg")]
    found += _posix_queues(link, pid)
    for kind, name in ((SharedSegment, "segments"), (Queue, "queues")):
        if sum(isinstance(each, kind) for each in found) > MAX_SEGMENTS:
            why = f"More than {MAX_SEGMENTS} {name} are in {link.decode()}; the first are here"
            found.append(UnreadNamespace(1, "TooMany", why))
    return found


def _queue(row: Sequence[bytes], link: bytes, pid: int) -> Queue:
    size, count = int(row[3]), int(row[4])
    messages = tuple(messages_of(int(row[1]), count))
    return Queue(row[1].decode(), False, size, count, messages, link, pid)


def _segment(
    row: Sequence[bytes], link: bytes, pid: int, wanted: Callable[[int], bool]
) -> SharedSegment:
    key, number, _, size, creator, last, attached, uid, gid, _, _, *times = map(int, row[:14])
    # Octal, with SHM_DEST and SHM_LOCKED above the rights.
    mode = int(row[2], 8)
    file = None
    with suppress(OSError):
        file = _hold(number) if wanted(number) else None
    return SharedSegment(
        number,
        # The table prints it as a signed number.
        key & 0xFFFFFFFF,
        size,
        creator,
        attached,
        mode & 0o777,
        (uid, gid),
        last,
        (times[0], times[1], times[2]),
        link,
        pid,
        file,
    )


def _hold(number: int) -> SharedDescriptor:
    """Open the file that a segment is of. Raises `OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
    libc.shmdt.argtypes = [ctypes.c_void_p]
    address = libc.shmat(number, None, _SHM_RDONLY)
    if address in {None, _FAILED}:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        # The file of a segment has no path: only `map_files` leads to it.
        begin = b"%x-" % address
        with Path("/proc/self/maps").open("rb") as lines:
            areas = [line.split()[0] for line in lines if line.startswith(begin)]
        flags = os.O_PATH | os.O_CLOEXEC
        return SharedDescriptor(os.open(b"/proc/self/map_files/" + areas[0], flags))
    finally:
        libc.shmdt(address)


def _table(name: str) -> list[list[bytes]]:
    with Path(f"/proc/sysvipc/{name}").open("rb") as table:
        # The first line is the table's head; one row beyond the limit tells that there are more.
        return [line.split() for line in islice(table, 1, MAX_SEGMENTS + 2)]


def _posix_queues(link: bytes, pid: int) -> Iterator[Queue]:
    """Yield the queues of this thread's IPC namespace."""
    with ExitStack() as stack:
        folder = stack.enter_context(opened(mount_queues()))
        entries, kernel = stack.enter_context(os.scandir(folder)), _KernelOnDemand(stack)
        for entry in islice(entries, MAX_SEGMENTS + 1):
            size, inode, messages = 0, 0, tuple[QueuedMessage, ...]()
            with suppress(OSError, ValueError, IndexError):
                flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
                with opened(os.open(entry.name, flags, dir_fd=folder)) as queue:
                    # `QSIZE:129 NOTIFY:0 ...`: read(2) shows that, and takes no message.
                    size = int(os.read(queue, 200).split()[0].partition(b":")[2])
                    inode = entry.inode()
                    messages = kernel.messages(queue) if size else ()
            missing = sum(len(each.data) for each in messages) != size
            total = len(messages) + missing
            yield Queue(entry.name, True, size, total, messages, link, pid, inode)


class _KernelOnDemand:
    """The kernel's memory, from the first queue on that has a message: no call shows one, and
    leaves it there."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._kernel: KernelObjects | None = None

    def messages(self, queue: int) -> tuple[QueuedMessage, ...]:
        """Return the messages of a POSIX queue; none where they are not to be had."""
        with suppress(OSError):
            self._kernel = self._kernel or self._stack.enter_context(KernelObjects.opened())
            return tuple(self._kernel.messages(queue))
        return ()
