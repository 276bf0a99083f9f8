"""What a network namespace has, in three parts: its network, its firewall, its connections.

Each part is read in a thread that goes into the namespace and ends there. A family that the kernel
would load a module for is not asked: looking must not change the node.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from collector.node import conntrack, diag, nftables, routing, xtables
from collector.node.conntrack import NETLINK_NETFILTER
from collector.node.listening import NETLINK_SOCK_DIAG
from collector.node.netlink import Netlink, enter
from collector.node.netlink_fields import NetlinkRow
from collector.node.procfs import Process
from collector.node.socket_tables import (
    INET,
    parse_inet,
    parse_netlink,
    parse_packet,
    parse_unix,
)
from collector.node.tables import Tables, reason
from collector.node.vsock import vsock_rows

_NFTABLES, _CONNTRACK = "nf_tables_newrule", "ctnetlink_dump_table"
SYMBOLS = frozenset(
    {_NFTABLES, _CONNTRACK}
    | {name for each in diag.FAMILIES.values() for name in (each.symbol, each.creator) if name}
)
"""Functions by which the kernel shows what it can tell without loading a module."""
_INODE = re.compile(r'"inode": (\d+)')
_NAMES = {"ip": "net/ip_tables_names", "ip6": "net/ip6_tables_names"}
_LITTLE = 16 * 1024
_NODE_TABLE = 256 * 1024 * 1024
"""Bytes of the node's connections that are looked through for those of a pod."""
_BLOCK = 256 * 1024


def _unix(table: bytes, holders: Mapping[int, list[int]]) -> list[NetlinkRow]:
    return [{"protocol": "unix", **row} for row in parse_unix(table, holders)]


def _inet(name: str) -> Callable[[bytes, Mapping[int, list[int]]], list[NetlinkRow]]:
    return lambda table, holders: parse_inet(name, {name: table}, holders)


_IN_PROC = {name: _inet(name) for name in INET} | {
    "packet": parse_packet,
    "netlink": parse_netlink,
    "unix": _unix,
}
"""How the tables of sockets beneath /proc/PID/net are read, by their name."""


class WrongNamespace(OSError):
    """A process that is not, or no more, in the namespace that is to be read."""


def enter_namespace(process: Process, space: bytes) -> None:
    """Let this thread go into a namespace, for good. Raises `OSError`."""
    enter(process)
    if os.fsencode(Path("/proc/thread-self/ns/net").readlink()) != space:
        raise WrongNamespace(f"The process {process.pid} is in another network namespace")


def read_network(
    tables: Tables,
    process: Process,
    holders: Mapping[int, list[int]],
    symbols: frozenset[str] | None,
) -> None:
    """Read links, addresses, routes and the like, and the sockets with the processes that hold
    them. `symbols` is None where it is not known what the kernel has."""
    for name in routing.TABLES:
        tables.read(name, socket.NETLINK_ROUTE, partial(routing.rows, name=name))
    tables.rows.setdefault("sockets", [])
    for name, family in diag.FAMILIES.items():
        part = f"{name} sockets"
        source = partial(diag.rows, name=name, holders=holders)
        if not _has(family.symbol, symbols):
            tables.note_missing(part, "NotSupported", "The kernel has no sock_diag for them")
        elif tables.read("sockets", NETLINK_SOCK_DIAG, source, part):
            continue
        if name in _IN_PROC:
            _read_proc(tables, process, name, holders)
        elif family.creator and not _has(family.creator, symbols):
            del tables.missing[part]  # there can be none
    if "vsock sockets" in tables.missing:
        _ask_each(tables, process, holders)


def _ask_each(tables: Tables, process: Process, holders: Mapping[int, list[int]]) -> None:
    """Add the vsock sockets that processes hold: no table has them."""
    found = (_INODE.search(row) for row in tables.rows["sockets"])
    listed = {int(match[1]) for match in found if match}
    tables.add("sockets", vsock_rows(process, holders, listed), "vsock sockets")


def _read_proc(
    tables: Tables, process: Process, name: str, holders: Mapping[int, list[int]]
) -> None:
    """Read sockets from /proc that sock_diag did not tell; a kernel without the table has none."""
    part = f"{name} sockets"
    table = b""
    with suppress(FileNotFoundError):
        table = process.read(f"net/{name}")
    tables.add("sockets", _IN_PROC[name](table, holders), part)
    del tables.missing[part]
    if process.cut:
        tables.cut.append(part)
        process.cut.clear()


def read_firewall(tables: Tables, process: Process, symbols: frozenset[str] | None) -> bool:
    """Read the rules of nftables, and those of the older iptables.

    Return whether the kernel has nftables: where it has not, there are no such rules.
    """
    if has := _has(_NFTABLES, symbols):
        for name in nftables.TABLES:
            source = partial(nftables.rows, name=name)
            if not tables.read(name, NETLINK_NETFILTER, source, f"nftables' {name}"):
                break  # the others would say the same
    _read_legacy(tables, process)
    return has


def _read_legacy(tables: Tables, process: Process) -> None:
    """Read the tables that the namespace has; where there are none, nothing is asked."""
    for name in ("legacyTables", "legacy"):
        tables.rows.setdefault(name, [])
    try:
        for table in xtables.tables({f: _lines(process, file) for f, file in _NAMES.items()}):
            tables.add("legacyTables", [table.head])
            tables.add("legacy", table.entries())
    except OSError as error:
        tables.note_missing("legacy", reason(error), str(error.strerror or error))


def _lines(process: Process, file: str) -> list[str]:
    with suppress(FileNotFoundError):  # a kernel without that family
        return process.read(file, _LITTLE).decode(errors="replace").split()
    return []


def read_connections(
    tables: Tables,
    process: Process,
    symbols: frozenset[str] | None,
    addresses: frozenset[str] = frozenset(),
) -> str:
    """Read the connections of the namespace that this thread is in; return by which way.

    Only those of `addresses`, if there are any.
    """
    if _has(_CONNTRACK, symbols):
        source = partial(from_kernel, addresses=addresses)
        if tables.read("entries", NETLINK_NETFILTER, source):
            return "netlink"
    try:
        tables.add("entries", _from_proc(process, addresses))
    except OSError as error:
        why = tables.missing.pop("entries", (reason(error), str(error.strerror or error)))
        tables.note_missing("entries", *why)
        return "none"
    tables.missing.pop("entries", None)
    return "proc"


def from_kernel(kernel: Netlink, addresses: frozenset[str]) -> Iterator[NetlinkRow]:
    """Yield the connections of a namespace; of some addresses, if there are any."""
    packed = [ipaddress.ip_address(each).packed for each in addresses]
    for body in kernel.dump(conntrack.GET, bytes(conntrack.HEAD)):
        # Decoding costs more than this, and a node has many that are not the pod's.
        if not addresses or any(each in body for each in packed):
            row = conntrack.decode(body)
            if not addresses or conntrack.is_of(row, addresses):
                yield row


def _from_proc(process: Process, addresses: frozenset[str]) -> Iterator[NetlinkRow]:
    wanted = [str(each).encode() for each in addresses]
    for line in lines_of(process, "net/nf_conntrack"):
        # IPv6 is spelled in full there: what is found by its value only is compared as a row.
        if not wanted or b":" in line or any(each in line for each in wanted):
            row = conntrack.parse(line)
            if row and (not addresses or conntrack.is_of(row, addresses)):
                yield row


def lines_of(process: Process, name: str, left: int = _NODE_TABLE) -> Iterator[bytes]:
    """Yield the lines of a file in a process's folder, so many bytes of it at most."""
    file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=process.folder)
    with os.fdopen(file, "rb", buffering=_BLOCK) as stream:
        for line in stream:
            left -= len(line)
            if left < 0:
                return
            yield line


def _has(symbol: str, symbols: frozenset[str] | None) -> bool:
    return symbols is None or symbol in symbols
