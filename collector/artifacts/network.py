"""`network.json`: sockets, routes and neighbours of each network namespace of the container.

Shape: `{"method": "proc", "namespaces": [{"namespace": "net:[...]", "host": false, "pids": [...],
"sockets": [...], "unix": [...], "raw": {"tcp": "...", ...}}]}`. `raw` holds the kernel's tables as
they are: routes, neighbours and counters are there, and what the decoded rows came from. A table
that was cut is named in `truncated`, and `sockets` or `unix` where only some rows are decoded. The
list is streamed, a namespace at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from collector.artifacts.processes import METHOD, members
from collector.container import ContainerCapture
from collector.documents import BoundedNames, portable, readable, streamed
from collector.node.abandonable import run_abandonable
from collector.node.procfs import MAX_BYTES, Process, machine_network
from collector.node.socket_tables import INET, inodes, parse_inet, parse_unix
from collector.node.threads import SeparateThreads
from collector.node.unlisted_sockets import unlisted_sockets
from collector.runtimes.runtime import Unavailable
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import SourceNotes

TABLES = (
    *INET,
    *("icmp", "icmp6", "unix", "packet", "netlink", "arp", "route", "ipv6_route", "if_inet6"),
    *("dev", "dev_mcast", "igmp", "igmp6", "fib_trie", "snmp", "snmp6", "netstat", "sockstat"),
    *("sockstat6", "wireless", "nf_conntrack"),
)
"""Files beneath /proc/PID/net; which of them exist depends on the kernel."""

_SOCKET = re.compile(rb"socket:\[(\d+)\]")
SocketHolders = dict[int, list[int]]
"""The processes that have a socket open, by its inode."""


@dataclass(frozen=True, slots=True)
class NetworkLimits:
    """What the network of one container may cost."""

    tables: int = 16 * 1024 * 1024
    """Bytes of all tables of one namespace: of some 100,000 sockets."""
    sockets: int = 50_000
    """Rows of one sort decoded of a namespace; the rest are in its raw tables only."""
    links: int = 256 * 1024
    """Open files, of all processes, of which it is looked up which sockets they are."""
    seconds: float = 120.0
    """For finding the namespaces, and then for reading each."""
    unlisted_seconds: float = 120.0
    """For finding the sockets that are in no table."""


LIMITS = NetworkLimits()


@dataclass(slots=True)
class _NetworkNamespaces:
    """The network namespaces of a container, and who holds its sockets."""

    most: int
    """Open files to look at."""
    members: dict[bytes, list[int]] = field(default_factory=dict)
    holders: SocketHolders = field(default_factory=dict)
    places: dict[int, tuple[int, str]] = field(default_factory=dict)
    """A process that has a socket open, and the entry of its folder in /proc; by its inode."""
    links: int = 0
    """Open files looked at."""
    unseen: list[int] = field(default_factory=list)
    """Processes of which not all open files were looked at."""
    thread_links: int = 0
    """Open files of threads looked at: most have those of their process, and cost it no places."""
    threads_unseen: list[int] = field(default_factory=list)
    """Processes whose threads may have lists of their own that were not looked at."""
    refused: BoundedNames = field(default_factory=BoundedNames)
    """Processes that may not be looked at."""
    apart_unseen: int = 0
    """Processes of which not all threads were looked at, which may be in other namespaces."""


@dataclass(slots=True)
class _NetworkRound:
    """One round through the namespaces."""

    capture: ContainerCapture
    spaces: _NetworkNamespaces
    limits: NetworkLimits
    notes: SourceNotes = field(default_factory=SourceNotes)
    cut: set[str] = field(default_factory=set)
    listed: set[int] = field(default_factory=set)
    """The inodes of the sockets in all tables."""
    hung: int = 0
    missed: int = 0
    gone: int = 0
    """Namespaces whose tables no process shows any more."""

    async def rows(self) -> AsyncIterator[list[str]]:
        waiting = list(self.spaces.members.items())
        for position, (space, within) in enumerate(waiting):
            if self.capture.is_over:
                self.missed = len(waiting) - position
                break
            try:
                found = await run_abandonable(
                    self.limits.seconds, "tables of the network", _spelled, space, within, self
                )
            except Unavailable:
                self.hung += 1
                continue
            if found:
                self.cut |= found[1]
                self.listed |= found[2]
                yield [found[0]]
            else:
                self.gone += 1
        if self.cut or self.hung or self.missed:
            self.notes.flags.add(Flag.TRUNCATED)

    def account(self) -> None:
        """Record what is not there."""
        record_gap, unseen = self.capture.record_gap, self.spaces.unseen
        if self.cut:
            message = f"Cut: {', '.join(sorted(self.cut))}"
            record_gap("network.json, its rest", "TooLarge", message)
        if self.hung:
            message = f"/proc said nothing of {self.hung} namespaces for {self.limits.seconds:g} s"
            record_gap("network.json, namespaces", "Hung", message)
        if self.missed:
            self.capture.record_time_gap(f"network.json, {self.missed} namespaces")
        self._account_spaces()
        if unseen:
            some = ", ".join(map(str, unseen[:50])) + (", ..." if len(unseen) > 50 else "")
            message = (
                f"{len(unseen)} processes have so many files open that not all of their sockets "
                f"are known to be theirs: {some}"
            )
            record_gap("network.json, holders of sockets", "TooLarge", message)
        if apart := self.spaces.threads_unseen:
            some = ", ".join(map(str, apart[:50])) + (", ..." if len(apart) > 50 else "")
            message = (
                f"{len(apart)} processes have so many threads with files open that not all of "
                f"their lists were compared: sockets of one thread alone may not be known: {some}"
            )
            record_gap("network.json, sockets of threads", "TooLarge", message, requested=False)

    def _account_spaces(self) -> None:
        """Record which namespaces may be missing."""
        record_gap, spaces = self.capture.record_gap, self.spaces
        if self.gone:
            message = (
                f"{self.gone} namespaces cannot be read: their processes have ended, or refuse"
            )
            record_gap("network.json, namespaces", "Gone", message, requested=False)
        if spaces.refused.total:
            message = f"Whose sockets and namespaces are not known: {spaces.refused}"
            record_gap("network.json, processes", "NotPermitted", message)
        if spaces.apart_unseen:
            message = (
                f"{spaces.apart_unseen} processes have so many threads that not all were looked "
                "at: one may be in a network namespace of its own"
            )
            record_gap("network.json, threads", "TooMany", message, requested=False)

    async def account_unlisted(self) -> None:
        """Record which sockets processes hold that no table has.

        A socket stays in the network namespace that it was made in, also when its process has left
        that and nobody is in it any more. Where tables are missing, each socket is asked where it
        is: what lies in a namespace that was looked at may be in what is missing.
        """
        missing = bool(self.cut or self.hung or self.missed)
        try:
            found, first = await run_abandonable(
                self.limits.unlisted_seconds,
                "sockets in no table",
                unlisted_sockets,
                self.spaces.places,
                self.listed,
                {*self.spaces.members} if missing else set[bytes](),
            )
        except Unavailable as hung:
            message = f"It is not known which sockets are in no table: {hung}"
            self.capture.record_gap("sockets in no table", hung.reason, message, requested=False)
            return
        if found.total:
            message = (
                "Processes hold sockets that are in no table of their network namespaces: bound to "
                "nothing, of a family without a table, or of a network namespace that no process "
                f"is in: {found}"
            )
            self.capture.record_gap(
                "sockets in no table", "NotVisible", message, requested=False, pid=first
            )


async def collect(capture: ContainerCapture, limits: NetworkLimits = LIMITS) -> None:
    """Store the tables of every network namespace that the container's processes are in."""
    if numbers := await members(capture, ArtifactKind.NETWORK):
        await store(capture, numbers, limits)


async def store(
    capture: ContainerCapture, numbers: list[int], limits: NetworkLimits = LIMITS
) -> None:
    """Store the tables of every network namespace that these processes are in."""
    finding = "the network's namespaces"
    spaces = await run_abandonable(limits.seconds, finding, _find_spaces, numbers, limits.links)
    capture.namespaces = spaces.members
    reading = _NetworkRound(capture, spaces, limits)
    await capture.add(
        "network.json",
        ArtifactKind.NETWORK,
        streamed({"method": METHOD}, "namespaces", reading.rows()),
        method=METHOD,
        media_type="application/json",
        notes=reading.notes,
        whole=True,
    )
    reading.account()
    await reading.account_unlisted()


def _find_spaces(numbers: list[int], links: int) -> _NetworkNamespaces:
    spaces, apart = _NetworkNamespaces(links), SeparateThreads()
    apart.look(numbers)
    spaces.apart_unseen = apart.unseen
    for number in (*numbers, *apart.threads):
        try:
            with Process.open(number) as process:
                spaces.members.setdefault(process.link("ns/net"), []).append(number)
                _note_holders(process, spaces)
        except PermissionError:
            spaces.refused.add(str(number))
        except OSError:
            continue
    for number in numbers:
        with suppress(OSError), Process.open(number) as process:
            for thread in process.other_threads(links):
                with suppress(FileNotFoundError, ProcessLookupError):
                    _note_holders(process, spaces, f"task/{thread}/")
    return spaces


def _note_holders(process: Process, spaces: _NetworkNamespaces, thread: str = "") -> None:
    """Note what sockets a process has open, or a thread: it may have a list of its own."""
    room = spaces.most - (spaces.thread_links if thread else spaces.links)
    descriptors = process.numbers(f"{thread}fd", room + 1)
    if len(descriptors) > room:
        unseen = spaces.threads_unseen if thread else spaces.unseen
        if process.pid not in unseen[-1:]:
            unseen.append(process.pid)
        del descriptors[room:]
    if thread:
        spaces.thread_links += len(descriptors)
    else:
        spaces.links += len(descriptors)
    for descriptor in descriptors:
        with suppress(OSError):
            match = _SOCKET.fullmatch(process.link(f"{thread}fd/{descriptor}"))
            if match:
                inode = int(match[1])
                spaces.places.setdefault(inode, (process.pid, f"{thread}fd/{descriptor}"))
                holders = spaces.holders.setdefault(inode, [])
                if process.pid not in holders[-1:]:
                    holders.append(process.pid)


def _spelled(
    space: bytes, within: list[int], reading: _NetworkRound
) -> tuple[str, set[str], set[int]] | None:
    """Return a namespace as JSON, what of it was cut, and the inodes of its sockets."""
    found = _namespace(space, within, reading.spaces.holders, reading.limits)
    if found is None:
        return None
    row, listed = found
    return json.dumps(row, ensure_ascii=False), {*row.get("truncated", ())}, listed


def _namespace(
    space: bytes, within: list[int], holders: SocketHolders, limits: NetworkLimits
) -> tuple[dict[str, Any], set[int]] | None:
    """Return the tables as the first process sees them that has not ended, and their inodes."""
    for number in within:
        with suppress(OSError), Process.open(number) as process:
            raw = _tables(process, limits.tables)
            sockets = [row for name in INET for row in parse_inet(name, raw, holders)]
            unix = parse_unix(raw.get("unix", b""), holders)
            for name, rows in (("sockets", sockets), ("unix", unix)):
                if len(rows) > limits.sockets:
                    del rows[limits.sockets :]
                    process.cut.append(name)
            cut = {"truncated": process.cut} if process.cut else {}
            row = cut | {
                "namespace": readable(space),
                "host": space == machine_network(),
                "pids": within,
                "sockets": sockets,
                "unix": unix,
                "raw": {name: portable(table) for name, table in raw.items()},
            }
            return row, inodes(raw)
    return None


def _tables(process: Process, room: int) -> dict[str, bytes]:
    tables: dict[str, bytes] = {}
    for name in TABLES:
        with suppress(FileNotFoundError):
            tables[name] = process.read(f"net/{name}", min(room, MAX_BYTES))
            room -= len(tables[name])
    return tables
