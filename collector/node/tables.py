"""Tables of the kernel as text of JSON, row by row, within a limit.

A row is spelled as it comes, so that however many a container has made, little more is held than
what is stored. A table that does not end is cut at the limit; one that changed while it was read is
said to have::

    tables = Tables(room=1024)
    tables.read("links", 0, lambda kernel: rows(kernel, "links"))
    for part in tables.parts({"namespace": "net:[1]"}): ...
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from collector.node.abandonable import raise_if_abandoned
from collector.node.netlink import Netlink
from collector.node.netlink_fields import NetlinkRow

_BATCH = 256
"""Rows that are handed on at once."""
_NOT_SUPPORTED = {
    *(errno.ENOENT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT),
    *(errno.EINVAL, errno.ENOSYS, errno.ENOPROTOOPT, errno.ESOCKTNOSUPPORT),
}


def reason(error: OSError) -> str:
    """Return the manifest's word for why the kernel does not tell something."""
    if isinstance(error, TimeoutError):
        return "Hung"
    if isinstance(error, PermissionError):
        return "NotPermitted"
    return "NotSupported" if error.errno in _NOT_SUPPORTED else "Unreadable"


@dataclass(slots=True)
class Tables:
    """Some tables under way."""

    room: int
    """Characters that all rows together may still take."""
    rows: dict[str, list[str]] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)
    """Tables of which only the first rows are here."""
    changed: list[str] = field(default_factory=list)
    """Tables that changed while they were read."""
    missing: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Tables that could not be read: the manifest's word for why, and the kernel's."""

    def read(
        self,
        name: str,
        protocol: int,
        source: Callable[[Netlink], Iterator[NetlinkRow]],
        part: str = "",
    ) -> bool:
        """Read what a family of netlink tells; return whether it told.

        `part` is what to call it where it is only a part of the table `name`.
        """
        try:
            # A new socket for each: what is left of an answer that was cut belongs to no other.
            with Netlink(protocol) as kernel:
                self.add(name, source(kernel), part)
                if kernel.interrupted:
                    self.changed.append(part or name)
        except OSError as error:
            self.note_missing(part or name, reason(error), str(error.strerror or error))
            return False
        return True

    def add(self, name: str, rows: Iterable[NetlinkRow], part: str = "") -> None:
        """Spell rows of a table, until there is no more room."""
        kept = self.rows.setdefault(name, [])
        for row in rows:
            raise_if_abandoned()
            text = json.dumps(row, ensure_ascii=False)
            if len(text) > self.room:
                self.cut.append(part or name)
                return
            self.room -= len(text)
            kept.append(text)

    def take(self, name: str, rows: Iterable[NetlinkRow]) -> None:
        """Spell rows of a table that may fail at any of them: what came before is kept."""
        try:
            self.add(name, rows)
        except OSError as error:
            self.note_missing(name, reason(error), str(error.strerror or error))

    def note_missing(self, name: str, why: str, message: str) -> None:
        """Note that a table could not be read."""
        self.missing[name] = why, message

    def parts(self, head: Mapping[str, object]) -> Iterator[str]:
        """Yield an object of JSON: `head`, and the tables, each a list with a line a row."""
        notes = {"truncated": self.cut, "changedWhileRead": self.changed}
        told = {**head, **{name: value for name, value in notes.items() if value}}
        if self.missing:
            told["unavailable"] = {name: message for name, (_, message) in self.missing.items()}
        yield json.dumps(told, ensure_ascii=False)[:-1]
        separator = ", " if told else ""
        for name, rows in self.rows.items():
            yield f"{separator}{json.dumps(name)}: ["
            for start in range(0, len(rows), _BATCH):
                yield (",\n" if start else "\n") + ",\n".join(rows[start : start + _BATCH])
            yield "\n]" if rows else "]"
            separator = ", "
        yield "}"
