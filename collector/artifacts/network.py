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
from collector.artifacts.sockets import parse_inet, parse_unix
from collector.documents.list import streamed
from collector.documents.text import portable, readable
from collector.node.patience import patiently
from collector.node.procfs import MAX_BYTES, Process, machine_network
from collector.node.threads import Apart
from collector.runtimes.runtime import Unavailable
from collector.scene import Scene
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import Findings

INET = ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6")
TABLES = (
    *INET,
    *("icmp", "icmp6", "unix", "packet", "netlink", "arp", "route", "ipv6_route", "if_inet6"),
    *("dev", "dev_mcast", "igmp", "igmp6", "fib_trie", "snmp", "snmp6", "netstat", "sockstat"),
    *("sockstat6", "wireless", "nf_conntrack"),
)
"""Files beneath /proc/PID/net; which of them exist depends on the kernel."""

MAX_TABLES = 16 * 1024 * 1024
"""Bytes of all tables of one namespace: of some 100,000 sockets."""
MAX_SOCKETS = 50_000
"""Rows of one sort decoded of a namespace; the rest are in its raw tables only."""
MAX_LINKS = 256 * 1024
"""Open files, of all processes, of which it is looked up which sockets they are."""
PATIENCE = 120.0
"""Seconds that finding the namespaces, and then reading each, may take."""
_SOCKET = re.compile(rb"socket:\[(\d+)\]")
Holders = dict[int, list[int]]
"""The processes that have a socket open, by its inode."""


@dataclass(slots=True)
class _Spaces:
    """The network namespaces of a container, and who holds its sockets."""

    members: dict[bytes, list[int]] = field(default_factory=dict)
    holders: Holders = field(default_factory=dict)
    links: int = 0
    """Open files looked at."""
    unseen: list[int] = field(default_factory=list)
    """Processes of which not all open files were looked at."""


@dataclass(slots=True)
class _Reading:
    """One round through the namespaces."""

    scene: Scene
    spaces: _Spaces
    findings: Findings = field(default_factory=Findings)
    cut: set[str] = field(default_factory=set)
    hung: int = 0
    missed: int = 0

    async def rows(self) -> AsyncIterator[list[str]]:
        waiting = list(self.spaces.members.items())
        for position, (space, within) in enumerate(waiting):
            if self.scene.is_over:
                self.missed = len(waiting) - position
                break
            try:
                found = await patiently(
                    PATIENCE, "tables of the network", _spelled, space, within, self.spaces.holders
                )
            except Unavailable:
                self.hung += 1
                continue
            if found:
                self.cut |= found[1]
                yield [found[0]]
        if self.cut or self.hung or self.missed:
            self.findings.flags.add(Flag.TRUNCATED)

    def account(self) -> None:
        """Record what is not there."""
        lacks, unseen = self.scene.lacks, self.spaces.unseen
        if self.cut:
            message = f"Cut: {', '.join(sorted(self.cut))}"
            lacks("network.json, its rest", "TooLarge", message)
        if self.hung:
            message = f"/proc said nothing of {self.hung} namespaces for {PATIENCE:g} s"
            lacks("network.json, namespaces", "Hung", message)
        if self.missed:
            self.scene.lacks_for_time(f"network.json, {self.missed} namespaces")
        if unseen:
            some = ", ".join(map(str, unseen[:50])) + (", ..." if len(unseen) > 50 else "")
            message = (
                f"{len(unseen)} processes have so many files open that not all of their sockets "
                f"are known to be theirs: {some}"
            )
            lacks("network.json, holders of sockets", "TooLarge", message)


async def capture(scene: Scene) -> None:
    """Store the tables of every network namespace that the container's processes are in."""
    numbers = await members(scene, ArtifactKind.NETWORK)
    if not numbers:
        return
    spaces = await patiently(PATIENCE, "the network's namespaces", _find_spaces, numbers)
    reading = _Reading(scene, spaces)
    await scene.add(
        "network.json",
        ArtifactKind.NETWORK,
        streamed({"method": METHOD}, "namespaces", reading.rows()),
        method=METHOD,
        media_type="application/json",
        findings=reading.findings,
        whole=True,
    )
    reading.account()


def _find_spaces(numbers: list[int]) -> _Spaces:
    spaces, apart = _Spaces(), Apart()
    apart.look(numbers)
    for number in (*numbers, *apart.threads):
        with suppress(OSError), Process.open(number) as process:
            spaces.members.setdefault(process.link("ns/net"), []).append(number)
            _note_holders(process, spaces)
    return spaces


def _note_holders(process: Process, spaces: _Spaces) -> None:
    room = MAX_LINKS - spaces.links
    descriptors = process.numbers("fd", room + 1)
    if len(descriptors) > room:
        spaces.unseen.append(process.pid)
        del descriptors[room:]
    spaces.links += len(descriptors)
    for descriptor in descriptors:
        with suppress(OSError):
            match = _SOCKET.fullmatch(process.link(f"fd/{descriptor}"))
            if match:
                spaces.holders.setdefault(int(match[1]), []).append(process.pid)


def _spelled(space: bytes, within: list[int], holders: Holders) -> tuple[str, set[str]] | None:
    """Return a namespace as JSON, and what of it was cut."""
    row = _namespace(space, within, holders)
    if row is None:
        return None
    return json.dumps(row, ensure_ascii=False), {*row.get("truncated", ())}


def _namespace(space: bytes, within: list[int], holders: Holders) -> dict[str, Any] | None:
    """Return the tables as the first process sees them that has not ended."""
    for number in within:
        with suppress(OSError), Process.open(number) as process:
            raw = _tables(process)
            sockets = [row for name in INET for row in parse_inet(name, raw, holders)]
            unix = parse_unix(raw.get("unix", b""), holders)
            for name, rows in (("sockets", sockets), ("unix", unix)):
                if len(rows) > MAX_SOCKETS:
                    del rows[MAX_SOCKETS:]
                    process.cut.append(name)
            cut = {"truncated": process.cut} if process.cut else {}
            return cut | {
                "namespace": readable(space),
                "host": space == machine_network(),
                "pids": within,
                "sockets": sockets,
                "unix": unix,
                "raw": {name: portable(table) for name, table in raw.items()},
            }
    return None


def _tables(process: Process) -> dict[str, bytes]:
    tables: dict[str, bytes] = {}
    room = MAX_TABLES
    for name in TABLES:
        with suppress(FileNotFoundError):
            tables[name] = process.read(f"net/{name}", min(room, MAX_BYTES))
            room -= len(tables[name])
    return tables
