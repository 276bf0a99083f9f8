"""What the page's script shows, as JSON within the page: rows as short lists, to keep it small.

Every text is fit to be shown before it comes here; the script puts it into the page as text only.

    {"captured": 1785578400000,
     "containers": [{"name": "web", "total": 2, "changes": [[5, "KIND", "REST OF THE PATH", ...]],
                     "processes": [[PID, ...]], "processesTotal": 1}],
     "entries": [[TIME, "SOURCE", "CONTAINER", "MESSAGE"]], "lines": [[TIME, "CONTAINER", "LINE"]]}

A path begins with so many characters of the one before. Times are milliseconds since 1970.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from forensics_core._internal.text import printable
from forensics_core.readers.report.changes import ShownChange, milliseconds
from forensics_core.readers.report.content import ContainerReport, ReportContent
from forensics_core.readers.report.processes import ProcessNode
from forensics_core.readers.timeline.entry import TimelineEntry, from_datetime

_MILLISECOND = 1_000_000
_BATCH = 2_000


def page_data(story: ReportContent) -> Iterator[str]:
    """Yield the JSON, a piece at a time; nothing in it ends the element that it stands in."""
    yield f'{{"captured":{from_datetime(story.capture.finished_at) // _MILLISECOND},"containers":['
    for number, container in enumerate(story.containers):
        yield "," if number else ""
        yield from _container(container)
    yield '],"entries":['
    yield from _rows(_entry(each) for each in story.moments.entries)
    yield '],"lines":['
    yield from _rows(
        [each.time // _MILLISECOND, printable(each.container, 200), each.message]
        for each in story.moments.lines
    )
    yield "]}"


def _container(container: ContainerReport) -> Iterator[str]:
    yield f'{{"name":{_json(printable(container.name, 200))},"total":{container.changes.total},'
    yield '"changes":['
    yield from _rows(_changes(container.changes.first))
    yield '],"processes":['
    pairs = zip(container.tree.processes, container.tree.depths, strict=True)
    yield from _rows(_process(process, depth) for process, depth in pairs)
    yield f'],"processesTotal":{container.tree.total}}}'


def _changes(changes: Iterable[ShownChange]) -> Iterator[list[Any]]:
    before = ""
    for each in changes:
        # Of ASCII only: the script counts other characters otherwise.
        shared = _shared(before, each.path) if before.isascii() else 0
        before = each.path
        row: list[Any] = [shared, each.kind, each.path[shared:], *each[2:]]
        while row[-1] == "":
            row.pop()
        yield row


def _shared(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    least = min(len(one), len(other))
    return next((place for place in range(least) if one[place] != other[place]), least)


def _process(process: ProcessNode, depth: int) -> list[Any]:
    return [
        process.pid,
        process.parent,
        depth,
        printable(process.command, 1000),
        printable(process.program, 1000),
        printable(process.uid, 20),
        milliseconds(process.started),
        [printable(line, 200) for line in process.connections],
        printable(process.sha256, 64),
        [printable(way, 50) for way in process.found_by],
        [printable(way, 50) for way in process.hidden_by],
    ]


def _entry(entry: TimelineEntry) -> list[Any]:
    time = entry.time // _MILLISECOND
    return [time, entry.source.value, printable(entry.container, 200), entry.message]


def _rows(rows: Iterable[list[Any]]) -> Iterator[str]:
    """Yield rows as JSON with commas between them, some at a time."""
    waiting = iter(rows)
    begun = False
    while batch := list(islice(waiting, _BATCH)):
        yield ("," if begun else "") + _json(batch)[1:-1]
        begun = True


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
