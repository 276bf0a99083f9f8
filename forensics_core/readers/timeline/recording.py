"""What a container did while it was captured, as the recorder saw it.

Rows come from the node, which may lie about any type: what is not as it should be is passed over.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from forensics_core._internal import strict_json
from forensics_core.bundle.layout import RECORDING, container_file
from forensics_core.bundle.reader import BundleReader
from forensics_core.readers.artifacts import lines, read_artifact
from forensics_core.readers.findings.documents import text
from forensics_core.readers.timeline.entry import EntrySource, TimelineEntry, from_stamp

WHAT = "Recorded Time"
_FILES = {"write": "written", "closeWrite": "closed after writing", "openExec": "opened to be run"}
_PROCESSES = {"fork", "exec", "exit", "process", "gone"}
_SOCKETS = {"socketOpened", "socketState", "socketClosed"}
_MAX_COMMAND = 2000
"""Characters of a command."""


async def recorded_entries(
    bundle: BundleReader, container: str
) -> AsyncGenerator[list[TimelineEntry], None]:
    """Yield what the recording of a container has, where there is one."""
    name = container_file(container, RECORDING)
    if name not in bundle.objects:
        return
    async with aclosing(read_artifact(bundle, name)) as blocks, aclosing(lines(blocks)) as batches:
        async for batch in batches:
            yield [entry for line in batch if (entry := _entry(line, container))]


def _entry(line: bytes, container: str) -> TimelineEntry | None:
    try:
        row = strict_json.loads_row(line)
    except ValueError:
        return None
    if not isinstance(row, dict):
        return None
    time, message, path = from_stamp(text(row.get("time"))), _message(row), text(row.get("path"))
    if time is None or not message:
        return None
    return TimelineEntry(time, EntrySource.RECORDING, container, message, WHAT, path)


def _message(row: dict[str, Any]) -> str:
    """Return what happened; nothing of a row that is about the recording itself."""
    event = text(row.get("event"))
    if event in _FILES:
        return f"{text(row.get('path'))} {_FILES[event]}{_by(row)}{_times(row)}"
    if event in _PROCESSES:
        return f"{event} of process {row.get('pid')}{_parent(row)}{_command(row)}{_outcome(row)}"
    if event in _SOCKETS:
        ends = f"{_end(row.get('local'))} to {_end(row.get('remote'))}"
        return f"{event}: {text(row.get('protocol'))} {ends}, {text(row.get('state'))}"
    return ""


def _by(row: dict[str, Any]) -> str:
    by = f" by process {row['pid']}" if isinstance(row.get("pid"), int) else ""
    return by + (" from outside the container" if row.get("outside") is True else "")


def _times(row: dict[str, Any]) -> str:
    count = row.get("count")
    return f" ({count} times)" if isinstance(count, int) else ""


def _parent(row: dict[str, Any]) -> str:
    return f" (parent {row['parent']})" if isinstance(row.get("parent"), int) else ""


def _command(row: dict[str, Any]) -> str:
    words = row.get("cmdline")
    command = " ".join(text(word) for word in words) if isinstance(words, list) else ""
    return f": {command[:_MAX_COMMAND]}" if command else ""


def _outcome(row: dict[str, Any]) -> str:
    found = [f" {name} {row[name]}" for name in ("code", "signal") if name in row]
    return f", with{''.join(found)}" if found else ""


def _end(end: Any) -> str:
    return f"{end.get('address')}:{end.get('port')}" if isinstance(end, dict) else "?"
