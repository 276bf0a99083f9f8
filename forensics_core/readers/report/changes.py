"""The changes of a container for a report: as many as a page can hold, all of them counted."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import NamedTuple

from forensics_core._internal.text import printable
from forensics_core.bundle.layout import container_file
from forensics_core.bundle.reader import BundleReader
from forensics_core.readers.findings.documents import DocumentRow, number, rows, text, words
from forensics_core.readers.timeline.entry import from_stamp

MAX_CHANGES = 150_000
"""Changes of all containers that a page shows."""
MAX_BYTES = 18 * 1024 * 1024
"""What they may take in a page, about: long names make it fewer."""
_ROW = 48
"""What a change takes beside its words."""
_MILLISECOND = 1_000_000


class ShownChange(NamedTuple):
    """One path that differs from the image, fit to be shown. A tuple, as there are very many."""

    kind: str
    path: str
    type: str
    mode: str
    size: int
    mtime: int | None
    """Milliseconds since 1970, as is `ctime`."""
    ctime: int | None
    owner: str
    notes: str
    sha256: str
    target: str

    @property
    def weight(self) -> int:
        """Return about how many bytes it takes in a page."""
        return _ROW + len(self.path) + len(self.notes) + len(self.sha256) + len(self.target)


@dataclass(slots=True)
class PageBudget:
    """What is left of the room for changes in a page."""

    changes: int = MAX_CHANGES
    bytes: int = MAX_BYTES

    def take(self, change: ShownChange) -> bool:
        """Take the room of a change; return whether there was enough."""
        self.changes -= 1
        self.bytes -= change.weight
        return self.changes >= 0 and self.bytes >= 0


@dataclass(slots=True)
class Changes:
    """What differs from the image."""

    first: list[ShownChange] = field(default_factory=list)
    totals: Counter[str] = field(default_factory=Counter)
    """How many there are, by kind."""
    deleted: list[str] = field(default_factory=list)
    """The first paths of the image that are not there any more."""

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.totals.values())


async def read_changes(
    bundle: BundleReader, container: str, room: PageBudget, into: Changes
) -> None:
    """Add a container's changes, as many as there is room for. Raises `ForensicsError`."""
    async with aclosing(rows(bundle, container_file(container, "diff.json"))) as batches:
        async for batch in batches:
            for row in batch:
                _add(row, room, into)


def _add(row: DocumentRow, room: PageBudget, into: Changes) -> None:
    kind = text(row.get("kind"))
    kind = kind if kind in {"A", "C", "D"} else "C"
    into.totals[kind] += 1
    if kind == "D" and len(into.deleted) < 10:
        into.deleted.append(printable(text(row.get("path")), 200))
    if room.changes <= 0 or room.bytes <= 0:
        return
    change = _change(row, kind)
    if room.take(change):
        into.first.append(change)


def _change(row: DocumentRow, kind: str) -> ShownChange:
    owner = f"{number(row.get('uid'))}:{number(row.get('gid'))}" if "uid" in row else ""
    return ShownChange(
        kind,
        printable(text(row.get("path")), 1024),
        printable(text(row.get("type")), 20),
        printable(text(row.get("mode")), 10),
        number(row.get("size")),
        milliseconds(row.get("mtime")),
        milliseconds(row.get("ctime")),
        owner,
        printable(", ".join(words(row.get("notes"))), 200),
        printable(text(row.get("sha256")), 64),
        printable(text(row.get("target")), 500),
    )


def milliseconds(value: object) -> int | None:
    """Return an RFC 3339 time, or `@SECONDS` beyond every calendar, since 1970; None for others."""
    written = text(value)
    if written.startswith("@"):
        seconds = written[1:].partition(".")[0]
        is_number = seconds.removeprefix("-").isdecimal() and len(seconds) < 16
        return int(seconds) * 1000 if is_number else None
    time = from_stamp(written)
    return None if time is None else time // _MILLISECOND
