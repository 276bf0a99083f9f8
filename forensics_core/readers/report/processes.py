"""The processes of a container for a report: a tree, with what each of them is connected to."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from forensics_core.bundle.layout import container_file
from forensics_core.bundle.reader import BundleReader
from forensics_core.readers.findings.documents import DocumentRow, number, rows, text, words

MAX_PROCESSES = 5_000
"""Processes of one container that a report shows; all are counted."""
MAX_CONNECTIONS = 50
"""Sockets of one process that are shown."""
_COMMAND = 2000


@dataclass(slots=True)
class ProcessNode:
    """One process of a container."""

    pid: int
    parent: int
    program: str
    command: str
    started: str
    connections: list[str] = field(default_factory=list)
    uid: str = ""
    """The user that it runs as, by number; empty where nobody says."""
    sha256: str = ""
    """Of its program."""
    found_by: list[str] = field(default_factory=list)
    """By which ways it was found, where the collector says so."""
    hidden_by: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ProcessTree:
    """The processes, children behind their parents, and how deep each of them stands."""

    processes: list[ProcessNode] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    total: int = 0
    """How many there are, shown or not."""


async def read_processes(bundle: BundleReader, container: str, most: int) -> ProcessTree:
    """Return the processes of a container. Raises `ForensicsError`."""
    connections = await _connections(bundle, container)
    found: list[ProcessNode] = []
    total = 0
    async with aclosing(rows(bundle, container_file(container, "processes.json"))) as batches:
        async for batch in batches:
            total += len(batch)
            some = batch[: max(most - len(found), 0)]
            found += [_process(row, connections) for row in some]
    tree = arrange(found)
    tree.total = total
    return tree


def _process(row: DocumentRow, connections: dict[int, list[str]]) -> ProcessNode:
    pid = number(row.get("pid"))
    return ProcessNode(
        pid,
        number(row.get("ppid")),
        text(row.get("exe")),
        " ".join(words(row.get("cmdline")))[:_COMMAND] or f"[{text(row.get('comm'))}]",
        text(row.get("startTime")),
        connections.get(pid, []),
        _user(row.get("uid")),
        text(row.get("exeSha256")),
        words(row.get("foundBy"))[:10],
        words(row.get("hiddenBy"))[:10],
    )


def _user(uids: Any) -> str:
    """Return the effective one of a process's users: the second that the kernel names."""
    return str(number(uids[1])) if isinstance(uids, list) and len(uids) > 1 else ""


def arrange(found: list[ProcessNode]) -> ProcessTree:
    """Put children behind their parents. A table that contradicts itself is shown all the same."""
    tree = ProcessTree()
    children: dict[int, list[ProcessNode]] = {}
    known = {each.pid for each in found}
    for each in found:
        parent = each.parent if each.parent in known and each.parent != each.pid else 0
        children.setdefault(parent, []).append(each)
    waiting = [(each, 0) for each in reversed(children.get(0, []))]
    shown: set[int] = set()
    while waiting:
        each, depth = waiting.pop()
        if id(each) in shown:
            continue
        shown.add(id(each))
        tree.processes.append(each)
        tree.depths.append(depth)
        below = reversed(children.get(each.pid, [])) if each.pid else ()
        waiting += [(child, depth + 1) for child in below]
    rest = [each for each in found if id(each) not in shown]
    tree.processes += rest
    tree.depths += [0] * len(rest)
    return tree


async def _connections(bundle: BundleReader, container: str) -> dict[int, list[str]]:
    """Return what each process's sockets are connected to, or listen on."""
    found: dict[int, list[str]] = {}
    async with aclosing(rows(bundle, container_file(container, "network.json"))) as batches:
        async for batch in batches:
            for space in batch:
                sockets = space.get("sockets")
                for row in sockets if isinstance(sockets, list) else []:
                    _note(row, found)
    return found


def _note(row: Any, found: dict[int, list[str]]) -> None:
    if not isinstance(row, dict) or not isinstance(row.get("pids"), list):
        return
    line = f"{text(row.get('protocol'))} {_end(row.get('local'))}"
    if row.get("state") != "LISTEN":
        line += f" to {_end(row.get('remote'))}"
    for pid in row["pids"]:
        lines = found.setdefault(pid, []) if isinstance(pid, int) else []
        if len(lines) < MAX_CONNECTIONS:
            lines.append(f"{line} {text(row.get('state'))}")


def _end(side: Any) -> str:
    if not isinstance(side, dict):
        return ""
    address = text(side.get("address"))
    return f"{f'[{address}]' if ':' in address else address}:{number(side.get('port'))}"
