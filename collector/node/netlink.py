"""Tables of the kernel by netlink, asked for in a process's network namespace.

Entering a namespace changes a thread for good. So what enters one runs in a thread that ends with
it, as those of `run_abandonable` do::

    def links(process):
        enter(process)
        with Netlink(socket.NETLINK_ROUTE) as kernel:
            return [fields(body[16:], LINK) for body in kernel.dump(18, bytes(16))]

Source: netlink(7), setns(2), include/uapi/linux/netlink.h
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from collector.files.safe_open import opened
from collector.node.abandonable import raise_if_abandoned
from collector.node.procfs import Process

_NOOP, _ERROR, _DONE, _OVERRUN = 1, 2, 3, 4
_REQUEST_DUMP, _INTERRUPTED = 0x301, 0x10
_HEADER, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=HH")
_NESTED_OR_SWAPPED = 0xC000
"""Bits of an attribute's type that are none of its number."""
BUFFER = 256 * 1024
ANSWER_TIMEOUT = 5.0
"""Seconds that the kernel may take for one part of its answer."""
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class NetlinkMessage(NamedTuple):
    """One message of an answer."""

    kind: int
    flags: int
    body: bytes


class Netlink:
    """A socket to one of the kernel's families, of the namespace that this thread is in.

    Everything raises `OSError`: `TimeoutError` where the kernel says nothing for `ANSWER_TIMEOUT`
    seconds.
    """

    def __init__(self, protocol: int) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._kernel = socket.socket(socket.AF_NETLINK, kind, protocol)
        self._kernel.settimeout(ANSWER_TIMEOUT)
        self._sequence = 0
        self.interrupted = False
        """Whether a table changed while it was read: rows may be there twice, or not at all."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the socket back."""
        self._kernel.close()

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """Yield the bodies of all rows that the kernel answers a request for a table with."""
        self._sequence += 1
        head = _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST_DUMP, self._sequence, 0)
        self._kernel.sendall(head + body)
        for message in messages(self._kernel):
            self.interrupted |= bool(message.flags & _INTERRUPTED)
            yield message.body


def messages(kernel: socket.socket) -> Iterator[NetlinkMessage]:
    """Yield the messages of one answer. Raises `OSError` where it is an error."""
    while True:
        raise_if_abandoned()
        # The kernel makes no part of a dump longer than 32 KiB, whatever there is room for.
        data, start = kernel.recv(BUFFER), 0
        while start + _HEADER.size <= len(data):
            length, kind, flags, *_ = _HEADER.unpack_from(data, start)
            body = data[start + _HEADER.size : start + length]
            if kind in (_ERROR, _DONE):
                _raise_error(body)
                return
            if kind not in (_NOOP, _OVERRUN):
                yield NetlinkMessage(kind, flags, body)
            start += aligned(max(length, _HEADER.size))


def _raise_error(body: bytes) -> None:
    """Raise what the end of an answer says; an old kernel's end says nothing."""
    code = struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
    if code < 0:
        raise OSError(-code, f"The kernel does not tell: {os.strerror(-code)}")


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and value of each attribute; what is no whole one ends the list."""
    start = 0
    while start + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if not _ATTRIBUTE.size <= length <= len(data) - start:
            return
        yield kind & ~_NESTED_OR_SWAPPED, data[start + _ATTRIBUTE.size : start + length]
        start += aligned(length)


def aligned(length: int) -> int:
    """Return the length that something takes in a message."""
    return (length + 3) & ~3


def enter(process: Process) -> None:
    """Let this thread go into the network namespace of a process. Raises `OSError`."""
    # setns needs SYS_ADMIN even where it would change nothing.
    if process.link("ns/net") == os.fsencode(Path("/proc/thread-self/ns/net").readlink()):
        return
    place = os.open("ns/net", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process.folder)
    with opened(place):
        if _libc.setns(place, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "The network namespace cannot be entered")
