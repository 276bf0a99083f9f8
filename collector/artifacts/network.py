"""`network.json`: sockets, routes and neighbours of each network namespace of the container.

Shape: `{"method": "proc", "namespaces": [{"namespace": "net:[...]", "host": false, "pids": [...],
"sockets": [...], "unix": [...], "raw": {"tcp": "...", ...}}]}`. `raw` holds the kernel's tables as
they are: routes, neighbours and counters are there, and what the decoded rows came from. A table
that was cut is named in `truncated`.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from collector.artifacts.processes import METHOD, members
from collector.artifacts.sockets import parse_inet, parse_unix
from collector.documents.text import portable, readable
from collector.node.patience import patiently
from collector.node.procfs import Process, machine_network
from collector.scene import Scene
from forensics_core.api.order import ArtifactKind

INET = ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6")
TABLES = (
    *INET,
    *("icmp", "icmp6", "unix", "packet", "netlink", "arp", "route", "ipv6_route", "if_inet6"),
    *("dev", "dev_mcast", "igmp", "igmp6", "fib_trie", "snmp", "snmp6", "netstat", "sockstat"),
    *("sockstat6", "wireless", "nf_conntrack"),
)
"""Files beneath /proc/PID/net; which of them exist depends on the kernel."""

PATIENCE = 120.0
"""Seconds that reading all of them may take."""
_SOCKET = re.compile(rb"socket:\[(\d+)\]")
Holders = dict[int, list[int]]
"""The processes that have a socket open, by its inode."""


async def capture(scene: Scene) -> None:
    """Store the tables of every network namespace that the container's processes are in."""
    numbers = await members(scene, ArtifactKind.NETWORK)
    if not numbers:
        return
    rows = await patiently(PATIENCE, "the tables of the network", _namespaces, numbers)
    content: dict[str, object] = {"method": METHOD, "namespaces": rows}
    await scene.add_json("network.json", ArtifactKind.NETWORK, content, method=METHOD)
    cut = sorted({name for row in rows for name in row.get("truncated", ())})
    if cut:
        scene.lacks("network.json, its rest", "TooLarge", f"Cut: {', '.join(cut)}")


def _namespaces(numbers: list[int]) -> list[dict[str, Any]]:
    spaces: dict[bytes, list[int]] = {}
    holders: Holders = {}
    for number in numbers:
        with suppress(OSError), Process.open(number) as process:
            spaces.setdefault(process.link("ns/net"), []).append(number)
            _note_holders(process, holders)
    rows = (_namespace(space, within, holders) for space, within in spaces.items())
    return [row for row in rows if row]


def _note_holders(process: Process, holders: Holders) -> None:
    for descriptor in process.numbers("fd"):
        with suppress(OSError):
            match = _SOCKET.fullmatch(process.link(f"fd/{descriptor}"))
            if match:
                holders.setdefault(int(match[1]), []).append(process.pid)


def _namespace(space: bytes, within: list[int], holders: Holders) -> dict[str, Any] | None:
    """Return the tables as the first process sees them that has not ended."""
    for number in within:
        with suppress(OSError), Process.open(number) as process:
            raw = _tables(process)
            cut = {"truncated": process.cut} if process.cut else {}
            return cut | {
                "namespace": readable(space),
                "host": space == machine_network(),
                "pids": within,
                "sockets": [row for name in INET for row in parse_inet(name, raw, holders)],
                "unix": parse_unix(raw.get("unix", b""), holders),
                "raw": {name: portable(table) for name, table in raw.items()},
            }
    return None


def _tables(process: Process) -> dict[str, bytes]:
    tables = {}
    for name in TABLES:
        with suppress(FileNotFoundError):
            tables[name] = process.read(f"net/{name}")
    return tables
