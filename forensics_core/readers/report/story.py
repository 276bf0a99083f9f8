"""What a report tells, whatever its layout. Read once, bounded, and hostile until it is escaped."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from forensics_core.bundle.layout import SEAL, container_file
from forensics_core.bundle.manifest import Capture
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError
from forensics_core.readers.findings.documents import Row, number, rows, text, words
from forensics_core.readers.findings.find import Findings, find

MOST_CHANGES = 20_000
"""Changes of one container that a report shows; all are counted."""
MOST_PROCESSES = 5_000


@dataclass(slots=True)
class Process:
    """One process of a container."""

    pid: int
    parent: int
    program: str
    command: str
    started: str
    connections: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ContainerStory:
    """One container: what changed in it, what runs in it."""

    name: str
    image: str
    state: str
    result: str
    changes: list[Row] = field(default_factory=list)
    """The first of them: rows of `diff.json`."""
    totals: Counter[str] = field(default_factory=Counter)
    """How many there are, by kind."""
    processes: list[Process] = field(default_factory=list)
    """In the order of a tree, children behind their parents."""
    depths: list[int] = field(default_factory=list)
    """How deep each process stands in that tree."""
    processes_total: int = 0


@dataclass(slots=True)
class Story:
    """Everything that a report shows."""

    location: str
    manifest_sha256: str
    capture: Capture
    sealed: bool
    """Whether a seal lies beside the manifest; nobody has checked it here."""
    findings: Findings
    containers: list[ContainerStory]


async def tell(bundle: BundleReader) -> Story:
    """Read what a report needs. What cannot be read is named in `findings.not_looked_at`."""
    findings = await find(bundle)
    containers = [await _container(bundle, name, findings) for name in bundle.containers]
    return Story(
        location=bundle.url,
        manifest_sha256=bundle.manifest_sha256,
        capture=bundle.statement.predicate,
        sealed=bool(bundle.history(SEAL)),
        findings=findings,
        containers=containers,
    )


async def _container(bundle: BundleReader, name: str, findings: Findings) -> ContainerStory:
    row = next(each for each in bundle.statement.predicate.containers if each.name == name)
    story = ContainerStory(name, row.image, row.state, row.result)
    for part in (_changes, _processes):
        try:
            await part(bundle, story)
        except ForensicsError as error:
            if error.message not in findings.not_looked_at:
                findings.missed(error)
    return story


async def _changes(bundle: BundleReader, story: ContainerStory) -> None:
    async with aclosing(rows(bundle, container_file(story.name, "diff.json"))) as batches:
        async for batch in batches:
            story.totals.update(text(row.get("kind")) for row in batch)
            story.changes += batch[: max(MOST_CHANGES - len(story.changes), 0)]


async def _processes(bundle: BundleReader, story: ContainerStory) -> None:
    connections = await _connections(bundle, story.name)
    found: list[Process] = []
    async with aclosing(rows(bundle, container_file(story.name, "processes.json"))) as batches:
        async for batch in batches:
            story.processes_total += len(batch)
            some = batch[: max(MOST_PROCESSES - len(found), 0)]
            found += [_process(row, connections) for row in some]
    _arrange(found, story)


def _process(row: Row, connections: dict[int, list[str]]) -> Process:
    pid = number(row.get("pid"))
    return Process(
        pid,
        number(row.get("ppid")),
        text(row.get("exe")),
        " ".join(words(row.get("cmdline")))[:2000] or f"[{text(row.get('comm'))}]",
        text(row.get("startTime")),
        connections.get(pid, []),
    )


def _arrange(found: list[Process], story: ContainerStory) -> None:
    """Put children behind their parents. A table that contradicts itself is shown all the same."""
    children: dict[int, list[Process]] = {}
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
        story.processes.append(each)
        story.depths.append(depth)
        below = reversed(children.get(each.pid, [])) if each.pid else ()
        waiting += [(child, depth + 1) for child in below]
    rest = [each for each in found if id(each) not in shown]
    story.processes += rest
    story.depths += [0] * len(rest)


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
        if isinstance(pid, int):
            found.setdefault(pid, []).append(f"{line} {text(row.get('state'))}")


def _end(side: Any) -> str:
    return (
        f"{text(side.get('address'))}:{number(side.get('port'))}" if isinstance(side, dict) else ""
    )
