"""The Unix sockets that a process listens on, as the kernel itself tells.

Not from /proc/net/unix: a name there may hold a line break, so whoever shares a network namespace
with a runtime could write rows of its own, with the numbers of the runtime's sockets.

Source: sock_diag(7), include/uapi/linux/unix_diag.h
"""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

from collector.node.netlink import Netlink, attributes, enter
from collector.node.procfs import Process

NETLINK_SOCK_DIAG, BY_FAMILY = 4, 20
_SHOW_NAME, _NAME = 0x1, 0
_LISTENING = 1 << 10
_QUESTION, _ROW = struct.Struct("=BBHIIIII"), struct.Struct("=BBBBIII")
_SOCKET = re.compile(rb"socket:\[(\d+)\]")


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
            enter(process)
            results.extend(action())

    thread = threading.Thread(target=work, name=f"sockets of process {process.pid}", daemon=True)
    thread.start()
    thread.join()
    return results


def _all_listening() -> list[tuple[int, bytes]]:
    """Return inode and name of all stream sockets that listen here. Raises `OSError`."""
    nobody = 0xFFFFFFFF
    question = _QUESTION.pack(socket.AF_UNIX, 0, 0, _LISTENING, 0, _SHOW_NAME, nobody, nobody)
    with Netlink(NETLINK_SOCK_DIAG) as kernel:
        return [
            _row(body)
            for body in kernel.dump(BY_FAMILY, question)
            if len(body) >= _ROW.size and body[1] == socket.SOCK_STREAM
        ]


def _row(body: bytes) -> tuple[int, bytes]:
    """Return inode and name of one socket; a path ends with a zero byte that is not of it."""
    name = dict(attributes(body[_ROW.size :])).get(_NAME, b"")
    return _ROW.unpack_from(body)[4], name if name.startswith(b"\0") else name.rstrip(b"\0")
