"""Connections, and what was started in the container from outside: they were there when it was
captured, and have no time of their own but for that of a session's first process.

It comes from the node, which may lie about any type: what is not as it should be is passed over.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from forensics_core.bundle.layout import EXECS, container_file
from forensics_core.bundle.reader import BundleReader
from forensics_core.readers.context import part
from forensics_core.readers.documents import load
from forensics_core.readers.findings.documents import DocumentRow, rows, text, words
from forensics_core.readers.timeline.entry import (
    EntrySource,
    TimelineEntry,
    from_datetime,
    from_stamp,
)

SEEN = "Time Seen"
"""When the capture looked: it may have been there for long."""
_MAX_COMMAND = 2000
"""Characters of a command."""


async def connection_entries(
    bundle: BundleReader, container: str
) -> AsyncGenerator[list[TimelineEntry], None]:
    """Yield the sockets that were open, as of when they were looked at; not the node's own."""
    name = container_file(container, "network.json")
    time = _looked(bundle, name)
    async with aclosing(rows(bundle, name)) as batches:
        async for batch in batches:
            yield [
                TimelineEntry(time, EntrySource.CONNECTION, container, _socket(row), SEEN)
                for space in batch
                if space.get("host") is not True
                for row in _objects(space.get("sockets"))
            ]


async def exec_entries(bundle: BundleReader, container: str) -> list[TimelineEntry]:
    """Return the sessions that somebody began in the container from outside."""
    name = container_file(container, EXECS)
    seen = _looked(bundle, name)
    found = []
    document = await load(bundle, name)
    for row in _objects(document.get("execs") if isinstance(document, dict) else None):
        began = from_stamp(text(part(row, "process").get("startTime")))
        time, what = (seen, SEEN) if began is None else (began, "Session Start Time")
        found.append(TimelineEntry(time, EntrySource.EXEC, container, _session(row), what))
    return found


def _looked(bundle: BundleReader, name: str) -> int:
    capture = bundle.statement.predicate
    several = (each.started_at for each in capture.artifacts if each.name == name)
    return from_datetime(next(several, capture.started_at))


def _objects(value: Any) -> Iterator[DocumentRow]:
    return (
        (each for each in value if isinstance(each, dict)) if isinstance(value, list) else iter(())
    )


def _socket(row: DocumentRow) -> str:
    local, remote = part(row, "local"), part(row, "remote")
    # One that waits has no peer: the kernel says port 0 of it.
    ends = f"{_end(local)} to {_end(remote)}" if remote.get("port") else _end(local)
    pids = row.get("pids")
    held = [str(pid) for pid in pids[:8] if isinstance(pid, int)] if isinstance(pids, list) else []
    by = f", held by process {', '.join(held)}" if held else ""
    return f"{text(row.get('protocol'))} {ends}, {text(row.get('state'))}{by}"


def _end(end: DocumentRow) -> str:
    return f"{text(end.get('address'))}:{end.get('port')}"


def _session(row: DocumentRow) -> str:
    """Return who did what: the runtime knows the command, /proc that of the first process."""
    command = " ".join(words(row.get("command")) or words(part(row, "process").get("cmdline")))
    state = "running" if row.get("running") is True else "ended"
    user = f" as {text(row.get('user'))[:100]}" if text(row.get("user")) else ""
    on = " on a terminal" if row.get("terminal") is True else ""
    unknown = "" if row.get("id") else ", which the runtime knows nothing of"
    pid = f" of process {row['pid']}" if isinstance(row.get("pid"), int) else ""
    return f"session{pid}{user}{on}, {state}{unknown}: {command[:_MAX_COMMAND]}"
