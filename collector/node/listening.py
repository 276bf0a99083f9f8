"""The Unix sockets that a process listens on, as the kernel itself tells.

Not from /proc/net/unix: a name there may hold a line break, so whoever shares a network namespace
with a runtime could write rows of its own, with the numbers of the runtime's sockets.

Source: sock_diag(7), include/uapi/linux/unix_diag.h, setns(2)
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from collector.files.safe_open import opened
from collector.node.procfs import Process

_NETLINK_SOCK_DIAG, _BY_FAMILY, _ERROR, _DONE = 4, 20, 2, 3
_REQUEST_DUMP = 0x301
_SHOW_NAME, _NAME = 0x1, 0
_LISTENING = 1 << 10
_HEADER, _QUESTION, _ROW, _ATTRIBUTE = (
    struct.Struct(layout) for layout in ("=IHHII", "=BBHIIIII", "=BBBBIII", "=HH")
)
_SOCKET = re.compile(rb"socket:\[(\d+)\]")
_BUFFER = 256 * 1024
_SILENCE = 5.0
"""Seconds that the kernel may take for one part of its answer."""
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def listening(process: Process) -> list[bytes]:
    """Return the names of the Unix stream sockets that a process listens on.

    An abstract one begins with a zero byte. Empty where the kernel does not say it, as where it was
    built without `UNIX_DIAG`, or where we may not enter the process's network namespace.
    """
    own = set()
    with suppress(OSError):
        for descriptor in process.numbers("fd"):
            with suppress(OSError):
                match = _SOCKET.fullmatch(process.link(f"fd/{descriptor}"))
                own |= {int(match[1])} if match else set()
        found = _in_network(process, _all_listening)
        return [name for inode, name in found if inode in own and name]
    return []


def _in_network(
    process: Process, action: Callable[[], list[tuple[int, bytes]]]
) -> list[tuple[int, bytes]]:
    """Return what `action` returns in the process's network namespace; nothing where it fails.

    Entering one changes a thread for good, so it is done in one that ends with it.
    """
    results: list[tuple[int, bytes]] = []

    def work() -> None:
        with suppress(OSError, struct.error):
            _enter(process)
            results.extend(action())

    thread = threading.Thread(target=work, name=f"sockets of process {process.pid}", daemon=True)
    thread.start()
    thread.join()
    return results


def _enter(process: Process) -> None:
    """Let this thread go into the network namespace of a process. Raises `OSError`."""
    if process.link("ns/net") == os.fsencode(Path("/proc/thread-self/ns/net").readlink()):
        return
    place = os.open("ns/net", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process.folder)
    with opened(place):
        if _libc.setns(place, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "The network namespace cannot be entered")


def _all_listening() -> list[tuple[int, bytes]]:
    """Return inode and name of all stream sockets that listen here. Raises `OSError`."""
    nobody = 0xFFFFFFFF
    question = _QUESTION.pack(socket.AF_UNIX, 0, 0, _LISTENING, 0, _SHOW_NAME, nobody, nobody)
    head = _HEADER.pack(_HEADER.size + len(question), _BY_FAMILY, _REQUEST_DUMP, 1, 0)
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(_SILENCE)
        kernel.sendall(head + question)
        return [
            _row(body)
            for body in _bodies(kernel)
            if len(body) >= _ROW.size and body[1] == socket.SOCK_STREAM
        ]


def _bodies(kernel: socket.socket) -> Iterator[bytes]:
    """Yield the messages of one answer. Raises `OSError` where it is an error."""
    while True:
        data, start = kernel.recv(_BUFFER), 0
        while start + _HEADER.size <= len(data):
            length, kind, *_ = _HEADER.unpack_from(data, start)
            body = data[start + _HEADER.size : start + length]
            if kind == _DONE:
                return
            if kind == _ERROR:
                raise OSError(
                    -struct.unpack_from("=i", body)[0], "The kernel does not tell sockets"
                )
            yield body
            start += _aligned(max(length, _HEADER.size))


def _row(body: bytes) -> tuple[int, bytes]:
    """Return inode and name of one socket; a path ends with a zero byte that is not of it."""
    inode, start, name = _ROW.unpack_from(body)[4], _ROW.size, b""
    while start + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, start)
        if kind == _NAME:
            name = body[start + _ATTRIBUTE.size : start + length]
        start += _aligned(max(length, _ATTRIBUTE.size))
    return inode, name if name.startswith(b"\0") else name.rstrip(b"\0")


def _aligned(length: int) -> int:
    return (length + 3) & ~3
