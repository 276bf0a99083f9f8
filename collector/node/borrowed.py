"""Sockets and pipes of other processes, borrowed for a moment, and what waits in them unread.

A socket is had by `pidfd_getfd`, which needs the right to trace its process, in the PID namespace
that it is numbered in: as root on the node, in a Job where it has `hostPID`. Nothing is taken out
of it, no option of it is set, and its process is not stopped::

    with borrowed(process, "fd/7", inode) as socket:
        found = peek(socket, 65536)

Source: pidfd_getfd(2), recv(2) on MSG_PEEK, socket(7) on SO_PEEK_OFF, unix(7) on SCM_RIGHTS
"""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import os
import select
import socket
import stat
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from collector.files.safe_open import opened
from collector.node.deletedfiles import SharedDescriptor
from collector.node.procfs import Process, read_link

_PIDFD_GETFD = 438
_SO_PEEK_OFF, _TCP_ULP = 42, 31
_MAX_FILES = 253
"""Files that one message may have with it."""
_STREAMS = frozenset({socket.AF_UNIX, socket.AF_INET, socket.AF_INET6})
_libc = ctypes.CDLL(None, use_errno=True)


class Sent(NamedTuple):
    """A file on its way through a socket."""

    name: bytes
    """What /proc calls it."""
    place: SharedDescriptor
    """Where it is: not the open file itself, which may have a lock, or a position."""


@dataclass(slots=True)
class UnreadSocket:
    """What nobody has read from a socket yet."""

    size: int
    """Bytes."""
    data: bytes = b""
    """Those of them that could be had, from the first on."""
    files: list[Sent] = field(default_factory=list)
    """Files that come with them."""
    hides: bool = False
    """Whether there may be more behind them, of which the kernel tells no size."""


@contextmanager
def borrowed(process: Process, place: str, inode: int) -> Iterator[socket.socket]:
    """Open a socket that a process has as `fd/N`. Raises `OSError` where that is not to be had."""
    with socket.socket(fileno=_borrow(process, place, inode, stat.S_ISSOCK)) as found:
        yield found


@contextmanager
def borrowed_pipe(process: Process, place: str, inode: int) -> Iterator[int]:
    """Open a pipe likewise: the end that the process has, with its rights."""
    with opened(_borrow(process, place, inode, stat.S_ISFIFO)) as found:
        yield found


def _borrow(process: Process, place: str, inode: int, fits: Callable[[int], bool]) -> int:
    folder, _, number = place.rpartition("/")
    if folder != "fd":
        raise OSError(errno.ENOTSUP, "only a thread has it")
    pidfd = os.pidfd_open(process.pid)
    try:
        got = _libc.syscall(_PIDFD_GETFD, pidfd, int(number), 0)
        if got < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(pidfd)
    # The number may be another process's, in another PID namespace, or the file another by now.
    status = os.fstat(got)
    if not fits(status.st_mode) or status.st_ino != inode:
        os.close(got)
        raise FileNotFoundError(place)
    return int(got)


def peek(found: socket.socket, room: int) -> UnreadSocket | None:
    """Return what waits in a socket, and leave it there; None where that cannot be told.

    Of datagrams that is the first one. Where that would take a pending error away, move an offset
    for peeking, or take records apart that are to be decrypted, nothing is done. Raises `OSError`.
    """
    stream = found.type == socket.SOCK_STREAM
    if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        # Of a connection that nobody has taken yet, nobody can say what came with it.
        return None if _events(found) else UnreadSocket(0)
    if not (_is_stream(found) if stream else _is_quiet(found)) or _has_offset(found):
        return None
    answer = fcntl.ioctl(found, termios.FIONREAD, bytes(4))
    waiting = UnreadSocket(int.from_bytes(answer, sys.byteorder))
    if room > 0 and (waiting.size or not stream):
        local = found.family == socket.AF_UNIX
        space = socket.CMSG_SPACE(_MAX_FILES * 4) if local else 0
        flags = socket.MSG_PEEK | socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
        with suppress(BlockingIOError):  # there is nothing, or it was read meanwhile
            waiting.data, extras, *_ = found.recvmsg(min(waiting.size, room), space, flags)
            waiting.files = [_sent(number) for each in extras for number in _files(*each)]
    # An empty datagram, and a byte that is urgent, end what is told of the rest.
    waiting.hides = bool(_events(found) & (select.POLLPRI if stream else select.POLLIN))
    return waiting


def _is_stream(found: socket.socket) -> bool:
    """Whether it is a connection of bytes as they were sent."""
    if found.family not in _STREAMS or found.proto not in {0, socket.IPPROTO_TCP}:
        return False
    if found.family != socket.AF_UNIX:
        with suppress(OSError):
            return not found.getsockopt(socket.IPPROTO_TCP, _TCP_ULP, 16).strip(b"\0")
    return True


def _is_quiet(found: socket.socket) -> bool:
    """Whether it is for datagrams of this machine, and no error is pending, which would be told."""
    return found.family == socket.AF_UNIX and _events(found) in {0, select.POLLIN}


def _events(found: socket.socket) -> int:
    poll = select.poll()
    poll.register(found, select.POLLIN | select.POLLPRI)
    return sum(event for _, event in poll.poll(0))


def _has_offset(found: socket.socket) -> bool:
    with suppress(OSError):  # a kernel, or a family, without such an offset
        return found.getsockopt(socket.SOL_SOCKET, _SO_PEEK_OFF) >= 0
    return False


def _sent(number: int) -> Sent:
    with opened(number):
        link = f"/proc/self/fd/{number}"
        return Sent(read_link(link), SharedDescriptor(os.open(link, os.O_PATH | os.O_CLOEXEC)))


def _files(level: int, kind: int, data: bytes) -> array.array[int]:
    numbers = array.array("i")
    if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
        numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    return numbers
