"""Vsock sockets of a kernel that has no sock_diag for them: each is asked for its own address.

::

    rows = vsock_rows(process, holders, listed)

Source: vsock(7), pidfd_getfd(2)
"""

from __future__ import annotations

import socket
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress

from collector.node.abandonable import raise_if_abandoned
from collector.node.borrowed import borrowed
from collector.node.netlink_fields import NetlinkRow
from collector.node.procfs import Process
from collector.node.socket_tables import TYPES

MAX_ASKED = 4096
"""Sockets of unknown families that are looked at."""
MAX_FILES = 4096
"""Open files of one process among which a socket is looked for."""


def vsock_rows(
    process: Process,
    holders: Mapping[int, list[int]],
    listed: Container[int],
    most: int = MAX_ASKED,
) -> Iterator[NetlinkRow]:
    """Yield those that processes of a process's network namespace hold.

    `listed` are the inodes of sockets of other families; `most` others are looked at.
    """
    space, asked = process.link("ns/net"), 0
    for inode, pids in holders.items():
        if inode in listed or not pids or asked >= most:
            continue
        raise_if_abandoned()
        asked += 1
        with suppress(OSError), Process.open(pids[0]) as holder:
            if holder.link("ns/net") == space and (place := _place(holder, inode)):
                with borrowed(holder, place, inode) as found:
                    if found.family == socket.AF_VSOCK:
                        yield _row(found, inode) | {"pids": pids}


def _place(process: Process, inode: int) -> str:
    wanted = b"socket:[%d]" % inode
    for number in process.numbers("fd", MAX_FILES):
        with suppress(OSError):
            if process.link(f"fd/{number}") == wanted:
                return f"fd/{number}"
    return ""


def _row(found: socket.socket, inode: int) -> NetlinkRow:
    listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    row: NetlinkRow = {
        "protocol": "vsock",
        "type": TYPES.get(found.type, str(found.type)),
        "state": "listen" if listens else "",
        "inode": inode,
    }
    for end, ask in (("local", found.getsockname), ("remote", found.getpeername)):
        with suppress(OSError):  # it is not connected
            address, port = ask()
            row[end] = {"address": str(address), "port": port}
    return row
