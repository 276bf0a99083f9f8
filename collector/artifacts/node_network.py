"""`node/network.json`, `node/firewall.json`, `node/conntrack.json`: the pod's network namespaces.

Shape of each: `{"method": ..., "namespaces": [{"namespace": "net:[...]", "host": false,
"containers": {"web": [pids]}, ...tables}]}`. A namespace is there once, however many containers
share it. `conntrack.json` has one more: the connections of the node's own namespace that are from
or to the pod's addresses, where services and the internet are translated.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

from anyio import to_thread

from collector.artifacts.node_capture import TIMEOUT, NodeCapture
from collector.documents import readable
from collector.node.abandonable import run_abandonable
from collector.node.network_tables import (
    WrongNamespace,
    enter_namespace,
    read_connections,
    read_firewall,
    read_network,
)
from collector.node.procfs import Process, machine_network
from collector.node.saved_rules import saved_rules
from collector.node.tables import Tables, reason
from collector.runtimes.runtime import Unavailable
from forensics_core.api.order import ArtifactKind

NETWORK, FIREWALL, CONNTRACK = FILES = ("network.json", "firewall.json", "conntrack.json")
MAX_NAMESPACES = 64
"""Namespaces of one pod that are read."""
_GLOBAL = 0
"""The scope of an address that others can reach."""
_ENDED = (FileNotFoundError, ProcessLookupError, WrongNamespace)
TablesReader = Callable[[Tables, Process], dict[str, Any]]
"""Reads tables in a namespace, and returns what else is to be said of it."""


async def collect(node: NodeCapture) -> None:
    """Store what the namespaces have that the containers' processes are in.

    Connections end first; but which of the node's are the pod's, only its addresses tell.
    """
    if not any(capture.namespaces for capture in node.captures):
        message = "No network namespace that a process of the pod is in could be found"
        node.record_gap("network", "NotVisible", message)
        return
    reading = _NodeNetworkRound(node)
    await node.attempt(NETWORK, reading.network)
    await node.attempt(CONNTRACK, reading.connections)
    await node.attempt(FIREWALL, reading.firewall)


class _NodeNetworkRound:
    """One round through the namespaces of a pod."""

    def __init__(self, node: NodeCapture) -> None:
        self._node = node
        self._spaces: dict[bytes, dict[str, list[int]]] = {}
        for capture in node.captures:
            for space, members in capture.namespaces.items():
                self._spaces.setdefault(space, {})[capture.name] = members
        self._addresses: set[str] = set()

    async def network(self, node: NodeCapture) -> None:
        """Store links, addresses, routes, rules, neighbours, traffic control and sockets."""
        file = NamespacesFile(node, NETWORK, "netlink")

        def read(tables: Tables, process: Process) -> dict[str, Any]:
            read_network(tables, process, node.holders.sockets, node.symbols)
            return {}

        await self._each(file, read)
        await file.store()
        own = await to_thread.run_sync(machine_network)
        for space, tables in file.tables.items():
            if space != own:
                self._addresses |= set(global_addresses(tables.rows.get("addresses", ())))

    async def connections(self, node: NodeCapture) -> None:
        """Store the connections that are kept track of, and the node's that are of the pod."""
        file = NamespacesFile(node, CONNTRACK, "conntrack")

        def read(tables: Tables, process: Process) -> dict[str, Any]:
            return {"source": read_connections(tables, process, node.symbols)}

        await self._each(file, read)
        own = await to_thread.run_sync(machine_network)
        if self._addresses and own not in self._spaces:
            await file.read(own, {}, [1, 2, os.getpid()], self._of_the_node)
        await file.store()

    def _of_the_node(self, tables: Tables, process: Process) -> dict[str, Any]:
        addresses = frozenset(self._addresses)
        source = read_connections(tables, process, self._node.symbols, addresses)
        return {"source": source, "addresses": sorted(addresses)}

    async def firewall(self, node: NodeCapture) -> None:
        """Store the rules, also as the node's own programs spell them where these can be run."""
        file = NamespacesFile(node, FIREWALL, "netlink")

        def read(tables: Tables, process: Process) -> dict[str, Any]:
            return {"nftables": read_firewall(tables, process, node.symbols)}

        await self._each(file, read)
        machine = node.runtime.machine
        if machine and not await to_thread.run_sync(lambda: machine.foreign):
            for space, tables in file.tables.items():
                members = [*chain.from_iterable(self._spaces[space].values())]
                filled = [name for name, rows in tables.rows.items() if rows]
                file.heads[space]["saved"] = await saved_rules(space, members, filled)
        await file.store()

    async def _each(self, file: NamespacesFile, read: TablesReader) -> None:
        for space, containers in [*self._spaces.items()][:MAX_NAMESPACES]:
            members = [*chain.from_iterable(containers.values())]
            await file.read(space, containers, members, read)
        if (more := len(self._spaces) - MAX_NAMESPACES) > 0:
            self._node.record_gap(
                f"{file.name}, namespaces", "TooMany", f"{more} more are not here"
            )


class NamespacesFile:
    """One file about several namespaces."""

    def __init__(self, node: NodeCapture, name: str, method: str) -> None:
        self.name = name
        self.heads: dict[bytes, dict[str, Any]] = {}
        self.tables: dict[bytes, Tables] = {}
        self._node = node
        self._method = method
        self._room = node.limit

    async def read(
        self, space: bytes, containers: dict[str, list[int]], members: list[int], read: TablesReader
    ) -> None:
        """Read tables in a namespace that these processes are in."""
        tables, what = Tables(self._room), f"{self.name}, namespace {readable(space)}"
        try:
            told = await run_abandonable(TIMEOUT, what, _inside, space, members, tables, read)
        except Unavailable as hung:
            self._node.record_gap(what, hung.reason, str(hung))
        except OSError as error:
            self._node.record_gap(what, reason(error), str(error))
        else:
            if told is None:
                self._node.record_gap(what, "Gone", "No process that was in it is there any more")
                return
            self.heads[space] = {**told, "containers": containers}
            self.tables[space], self._room = tables, tables.room

    async def store(self) -> None:
        """Store what was read, and record what was not."""
        cut = any(each.cut for each in self.tables.values())
        await self._node.add(self.name, ArtifactKind.NETWORK, self._parts(), self._method, cut=cut)
        for tables in self.tables.values():
            self._account(tables)

    def _parts(self) -> Iterator[str]:
        separator = "\n"
        yield f'{{"method": {json.dumps(self._method)}, "namespaces": ['
        for space, tables in self.tables.items():
            yield separator
            yield from tables.parts(self.heads[space])
            separator = ",\n"
        yield "\n]}\n"

    def _account(self, tables: Tables) -> None:
        if tables.cut:
            message = f"Cut, the file would have become too long: {', '.join(tables.cut)}"
            self._node.record_gap(f"{self.name}, its rest", "TooLarge", message)
        if tables.changed:
            message = f"Changed while they were read: {', '.join(tables.changed)}"
            self._node.record_gap(f"{self.name}, its order", "ChangedWhileRead", message)
        for why in dict.fromkeys(tables.missing.values()):
            names = ", ".join(name for name, each in tables.missing.items() if each == why)
            self._node.record_gap(f"{self.name}, {names}", *why)


def _inside(
    space: bytes, members: list[int], tables: Tables, read: TablesReader
) -> dict[str, Any] | None:
    """Read in a thread that ends in the namespace; by the first process that is still there."""
    refused: PermissionError | None = None
    for number in members:
        try:
            with Process.open(number) as process:
                enter_namespace(process, space)
                head = {"namespace": readable(space), "host": space == machine_network()}
                return head | read(tables, process)
        except _ENDED:
            continue
        except PermissionError as error:
            refused = error
    if refused:
        raise refused
    return None


def global_addresses(rows: Iterable[str]) -> Iterator[str]:
    """Yield the addresses of a namespace by which others reach it."""
    for text in rows:
        row = json.loads(text)
        address = row.get("local", row.get("address"))
        if row.get("scope") == _GLOBAL and isinstance(address, str):
            yield address
