"""What waits unread in a pipe without a name, copied by tee(2), which takes nothing out.

::

    found = peek_pipe(place, 65536)

One that has a name is not opened: whoever waits for a reader would go on. It is looked into where a
process has it open already (`peek_opened`).

Source: tee(2), pipe(7)
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat
import sys
import termios
from contextlib import suppress
from dataclasses import dataclass

from collector.files.safe_open import opened

MAX_PIPE = 1024 * 1024
"""Bytes that a pipe of ours holds, at most: what an ordinary user may give to one."""
_SPLICE_F_NONBLOCK = 2


@dataclass(frozen=True, slots=True)
class UnreadPipe:
    """What nobody has read from a pipe yet."""

    size: int
    data: bytes = b""
    """Those bytes of it that could be had, from the first on."""


def peek_pipe(place: int, inode: int, room: int) -> UnreadPipe:
    """Return what waits in the pipe that `place` stands for, `room` bytes of it at most.

    Nothing where it is not the pipe of that inode. Raises `OSError`.
    """
    status = os.fstat(place)
    if not stat.S_ISFIFO(status.st_mode) or status.st_ino != inode:
        return UnreadPipe(0)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    with opened(os.open(f"/proc/self/fd/{place}", flags)) as pipe:
        return peek_opened(pipe, room)


def peek_opened(pipe: int, room: int) -> UnreadPipe:
    """Return what waits in a pipe that is open: from the end for writing only how much it is."""
    answer = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    size, data = int.from_bytes(answer, sys.byteorder), b""
    if size and room > 0:
        with suppress(OSError):  # then its size is told
            data = _copied(pipe, min(room, MAX_PIPE))
    return UnreadPipe(size, data[:room])


def _copied(pipe: int, most: int) -> bytes:
    inlet, outlet = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    with opened(inlet), opened(outlet):
        with suppress(OSError):  # then ours holds less than theirs
            # tee copies references to pages, however full: ours needs as many places as theirs has.
            theirs = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
            fcntl.fcntl(outlet, fcntl.F_SETPIPE_SZ, min(theirs, MAX_PIPE))
        libc = ctypes.CDLL(None, use_errno=True)
        size = ctypes.c_size_t(most)
        libc.tee.restype = ctypes.c_ssize_t
        copied = libc.tee(pipe, outlet, size, _SPLICE_F_NONBLOCK)
        data = b""
        while len(data) < copied and (more := os.read(inlet, copied - len(data))):
            data += more
        return data
