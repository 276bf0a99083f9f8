"""Sockets that processes hold and no table of their network namespaces has.

Source: include/uapi/linux/sockios.h (`SIOCGSKNS`), xattr(7)
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Set
from contextlib import suppress

from collector.documents import BoundedNames, readable
from collector.files.safe_open import opened
from collector.node.borrowed import borrowed
from collector.node.procfs import Process
from forensics_core.bundle.writer import shortened

_SPACE_OF = 0x894C
"""`SIOCGSKNS`, which opens a socket's namespace."""


def unlisted_sockets(
    places: Mapping[int, tuple[int, str]], listed: Set[int], known: Set[bytes]
) -> tuple[BoundedNames, int]:
    """Return the sockets that are in no table though still held, and the first one's process.

    `places` are, by inode, a process that has the socket open and the entry of its folder in /proc.
    Sockets of the `known` namespaces are left out. It blocks.
    """
    found, first = BoundedNames(), 0
    for inode, (pid, name) in places.items():
        if inode not in listed:
            with suppress(OSError), Process.open(pid) as process:
                # A connection that ended meanwhile left its table, and is no secret.
                if process.link(name) == b"socket:[%d]" % inode and not (
                    known and _space_of(process, name, inode) in known
                ):
                    first = first or pid
                    address = _address(process, name, inode)
                    found.add(f"{_protocol(process, name)}{address} (/proc/{pid}/{name})")
    return found, first


def _space_of(process: Process, name: str, inode: int) -> bytes:
    """Return the network namespace that a socket was made in; nothing where that is not told."""
    with suppress(OSError), borrowed(process, name, inode) as found:
        space = fcntl.ioctl(found, _SPACE_OF)
        with opened(space):
            return b"net:[%d]" % os.fstat(space).st_ino
    return b""


def _address(process: Process, name: str, inode: int) -> str:
    """Return where a socket is bound, and connected to, where that is to be had."""
    ends = list[str]()
    with suppress(OSError), borrowed(process, name, inode) as found:
        for end in (found.getsockname, found.getpeername):
            with suppress(OSError):
                ends.append(shortened(readable(os.fsencode(str(end())))))
    return "".join(f" {way} {end}" for way, end in zip(("at", "to"), ends, strict=False))


def _protocol(process: Process, name: str) -> str:
    """Return what the kernel calls the protocol of an open socket."""
    told = os.getxattr(f"/proc/self/fd/{process.folder}/{name}", "system.sockprotoname")
    return readable(told.rstrip(b"\0"))
