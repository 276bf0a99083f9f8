"""Vsock sockets of a kernel that has no sock_diag for them: each is asked for its own address.

::

    rows = vsock_rows(process, holders, listed)

Source: vsock(7), pidfd_getfd(2)
"""

from __future__ import annotations

import socket
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice

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
    space, unknown = process.link("ns/net"), dict[int, list[int]]()
    others = (inode for inode, pids in holders.items() if pids and inode not in listed)
    for inode in islice(others, most):
        unknown.setdefault(holders[inode][0], []).append(inode)
    for pid, inodes in unknown.items():
        raise_if_abandoned()
        with suppress(OSError), Process.open(pid) as holder:
            if holder.link("ns/net") == space:
                yield from _of_holder(holder, inodes, holders)


def _of_holder(
    holder: Process, inodes: Sequence[int], holders: Mapping[int, list[int]]
) -> Iterator[NetlinkRow]:
    places = _places(holder)
    for inode in inodes:
        raise_if_abandoned()
        if place := places.get(b"socket:[%d]" % inode):
            with suppress(OSError), borrowed(holder, place, inode) as found:
                if found.family == socket.AF_VSOCK:
                    yield _row(found, inode) | {"pids": holders[inode]}


def _places(process: Process) -> dict[bytes, str]:
    """Return where a process has its sockets open, by what their links say."""
    places = dict[bytes, str]()
    for number in process.numbers("fd", MAX_FILES):
        with suppress(OSError):
            places.setdefault(process.link(f"fd/{number}"), f"fd/{number}")
    return places


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
