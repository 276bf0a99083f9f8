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
    r"(.+?)(?:\.\d{1,6}|-\d{8}(?:-\d{1,10})?|\.old)(?:\.(?:gz|bz2|xz|zst))?", re.DOTALL
)
"""What logrotate, savelog and BusyBox's syslogd make of a name."""


class RemovedLogs:
    """Collects what was removed until it is known which logs were only rotated."""

    def __init__(self) -> None:
        self._removed: dict[str, str] = {}
        self._rotated: set[str] = set()

    def note(self, row: DocumentRow) -> None:
        """Take a row of the changes."""
        path, kind = text(row.get("path")), row.get("kind")
        if not _LOGS.fullmatch(path):
            return
        if kind == "D" and len(self._removed) < MAX_LOGS:
            self._removed[path] = _gone(row)
        # An empty one holds nothing of what was removed.
        is_kept = kind in {"A", "C"} and number(row.get("size")) > 0
        if is_kept and (name := _unrotated(path)) != path and len(self._rotated) < MAX_LOGS:
            self._rotated.add(name)

    def found(self) -> Iterator[tuple[str, str]]:
        """Yield path and detail of what is gone, once every row was noted."""
        for path, detail in self._removed.items():
            if _unrotated(path) not in self._rotated:
                yield path, detail


def look(row: DocumentRow) -> Iterator[tuple[Rule, str]]:
    """Yield what the removal of a history is: nobody rotates one."""
    if row.get("kind") == "D" and is_history(text(row.get("path"))):
        yield Rule.HISTORY_LINKED, _gone(row)


def _gone(row: DocumentRow) -> str:
    is_folder = row.get("type") == "directory"
    was = "a directory" if is_folder else f"a file of {number(row.get('size'))} bytes"
    return f"removed; in the image it is {was}"


def _unrotated(path: str) -> str:
    match = _ROTATED.fullmatch(path)
    return match[1] if match else path
