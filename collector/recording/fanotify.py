"""Writes and execs on a container's mounts, told by the kernel as they happen: fanotify.

::

    with Fanotify.open() as kernel:
        kernel.mark(place, whole=False)
        for event in kernel.read():
            print(event.pid, event.path, event.written)

Source: fanotify(7), fanotify_init(2), fanotify_mark(2), include/uapi/linux/fanotify.h
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple, Self

from collector.files.safe_open import opened
from collector.node.procfs import read_link

_MODIFY, _CLOSE_WRITE, _OPEN_EXEC, _OVERFLOW = 0x2, 0x8, 0x1000, 0x4000
_EVENTS = _MODIFY | _CLOSE_WRITE | _OPEN_EXEC
_CLOEXEC, _NONBLOCK = 0x1, 0x2
_ADD, _MARK_MOUNT, _MARK_FILESYSTEM = 0x1, 0x10, 0x100
_IGNORED, _IGNORED_SURVIVES = 0x20, 0x40
_HERE = -100
_METADATA = struct.Struct("=IBBHQii")
"""Length of the event, version, reserved, length of this head, mask, descriptor, process."""
_BUFFER = 64 * 1024
_EVENT_FILES = os.O_RDONLY | os.O_LARGEFILE | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOATIME
_DELETED = b" (deleted)"
_libc = ctypes.CDLL(None, use_errno=True)


class Event(NamedTuple):
    """What the kernel told of one file; several things at once where they came together."""

    pid: int
    """The process as this process's PID namespace numbers it; 0 where it is not in that."""
    path: bytes
    """From the root of the mount namespace that it was opened in; empty for an overflow."""
    written: bool = False
    closed: bool = False
    """Whether a descriptor that was open for writing was closed."""
    executed: bool = False
    """Whether it was opened to be run: as program, script or interpreter."""
    deleted: bool = False
    """Whether the file has no name any more."""
    overflow: bool = False
    """The kernel's queue was full: an unknown number of events is lost."""


class Fanotify:
    """A queue of the kernel's. Everything raises `OSError`."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        """Readable once there are events."""

    @classmethod
    def open(cls) -> Self:
        """Make one, with the kernel's own limits. Raises `OSError`: `EPERM` without the right."""
        made = _libc.fanotify_init(ctypes.c_uint(_CLOEXEC | _NONBLOCK), ctypes.c_uint(_EVENT_FILES))
        if made < 0:
            raise _error("fanotify_init")
        return cls(made)

    def close(self) -> None:
        """Give it back, and what is still queued."""
        os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def mark(self, place: int, *, whole: bool) -> None:
        """Watch the mount that an open file or directory lies on; its file system where `whole`.

        Of the latter, what other mounts of it are used for is told as well.
        """
        kind = _MARK_FILESYSTEM if whole else _MARK_MOUNT
        self._mark(_ADD | kind, _EVENTS, _HERE, b"/proc/self/fd/%d" % place)

    def ignore(self, folder: int, name: bytes) -> None:
        """Tell nothing of one file: a device, which an event would open."""
        self._mark(_ADD | _IGNORED | _IGNORED_SURVIVES, _EVENTS, folder, name)

    def _mark(self, flags: int, mask: int, folder: int, name: bytes) -> None:
        result = _libc.fanotify_mark(
            ctypes.c_int(self.descriptor),
            ctypes.c_uint(flags),
            ctypes.c_uint64(mask),
            ctypes.c_int(folder),
            ctypes.c_char_p(name),
        )
        if result < 0:
            raise _error("fanotify_mark")

    def read(self) -> Iterator[Event]:
        """Yield what is queued, one buffer of it; nothing where there is nothing."""
        try:
            data = os.read(self.descriptor, _BUFFER)
        except BlockingIOError:
            return
        start = 0
        while start + _METADATA.size <= len(data):
            length, _, _, _, mask, file, pid = _METADATA.unpack_from(data, start)
            start += length
            if mask & _OVERFLOW:
                yield Event(pid, b"", overflow=True)
            elif file >= 0:
                with opened(file):
                    event = _event(mask, file, pid)
                if event:
                    yield event


def _event(mask: int, file: int, pid: int) -> Event | None:
    """Return what was told of an open file; None for one that only looks like a file."""
    with suppress(OSError):
        found = os.fstat(file)
        if stat.S_ISREG(found.st_mode):
            path = read_link(f"/proc/self/fd/{file}")
            gone = not found.st_nlink and path.endswith(_DELETED)
            return Event(
                pid,
                path.removesuffix(_DELETED) if gone else path,
                bool(mask & _MODIFY),
                bool(mask & _CLOSE_WRITE),
                bool(mask & _OPEN_EXEC),
                gone,
            )
    return None


def _error(call: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{call}: {os.strerror(code)}")
