"""Logs and histories of the image that are gone, and not because they were rotated.

What the image never had leaves no trace when it is removed: of that no rule can say anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from forensics_core.readers.findings.documents import DocumentRow, number, text
from forensics_core.readers.findings.finding import Rule
from forensics_core.readers.findings.paths import is_history

MAX_LOGS = 10_000
"""Removed logs, and rotated ones, that are remembered of a container."""
_LOGS = re.compile(r"/var/log(/.*)?|/(var/)?run/utmp", re.DOTALL)
_ROTATED = re.compile(
    r"(.+?)(?:\.\d{1,6}|-\d{8}(?:-\d{1,10})?|\.old)(\.(?:gz|bz2|xz|zst))?", re.DOTALL
)
"""What logrotate, savelog and BusyBox's syslogd make of a name."""
_SMALLER = 1032
"""How many times larger at most a file was before it was compressed: as deflate has it, and more
than any log."""


class RemovedLogs:
    """Collects what was removed until it is known which logs were only rotated."""

    def __init__(self) -> None:
        self._removed: dict[str, tuple[int, str]] = {}
        self._rotated: dict[str, int] = {}
        """The most bytes that a rotated log can have had, by the log's name."""

    def note(self, row: DocumentRow) -> None:
        """Take a row of the changes."""
        path, kind = text(row.get("path")), row.get("kind")
        if not _LOGS.fullmatch(path):
            return
        if kind == "D" and len(self._removed) < MAX_LOGS:
            size = 0 if row.get("type") == "directory" else number(row.get("size"))
            self._removed[path] = size, _gone(row)
        if kind in {"A", "C"} and (match := _ROTATED.fullmatch(path)):
            name, compressed = match[1], match[2]
            size = number(row.get("size")) * (_SMALLER if compressed else 1)
            if name in self._rotated or len(self._rotated) < MAX_LOGS:
                self._rotated[name] = max(size, self._rotated.get(name, 0))

    def found(self) -> Iterator[tuple[str, str]]:
        """Yield path and detail of what is gone, once every row was noted."""
        for path, (size, detail) in self._removed.items():
            match = _ROTATED.fullmatch(path)
            # The oldest of several goes for good. Any other is kept: what is smaller, or empty, is
            # something else under its name.
            least = 1 if match else max(size, 1)
            kept = self._rotated.get(match[1] if match else path, 0)
            if kept < least:
                yield path, detail + (f"; a rotated one can have but {kept}" if kept else "")


def look(row: DocumentRow) -> Iterator[tuple[Rule, str]]:
    """Yield what the removal of a history is: nobody rotates one."""
    if row.get("kind") == "D" and is_history(text(row.get("path"))):
        yield Rule.HISTORY_LINKED, _gone(row)


def _gone(row: DocumentRow) -> str:
    is_folder = row.get("type") == "directory"
    was = "a directory" if is_folder else f"a file of {number(row.get('size'))} bytes"
    return f"removed; in the image it is {was}"
