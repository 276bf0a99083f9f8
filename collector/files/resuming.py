"""Where a walk through a file system goes on after the tar that made it has died.

tar visits the entries of each directory in the order in which the kernel lists them. So what comes
before the last member that it wrote is done, on every level of its path, and is left out next time.
Left out is also what killed it: a subtree that is too deep, or a directory with too many names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from collector.files.safe_open import open_strictly, opened

MAX_RUNS = 64
"""Times that tar is started for one file system."""
DEEP = 256
"""Levels beneath which a tree may be what killed tar."""
MAX_EXCLUDED = 16 * 1024 * 1024
"""Bytes of names that tar is told to leave out; what does not fit is in the archive twice."""
_MAX_ARGUMENTS = 512 * 1024
_MAX_ARGUMENT = 100 * 1024
_NEAR = 256
"""Members that tar can have in its buffer when it dies."""
MANY = 100_000
"""Names in a directory that may be what killed tar."""


@dataclass(slots=True)
class TarLoss:
    """What tar gave up in."""

    path: bytes
    """In the container, absolute."""
    why: str
    """What tar said."""
    cut: bool = False
    """Whether only this file's data is cut, and nothing beneath it is concerned."""


@dataclass(slots=True)
class Resumption:
    """What the next run of tar leaves out."""

    root: int
    runs: int = 1
    losses: list[TarLoss] = field(default_factory=list)
    unreadable: list[bytes] = field(default_factory=list)
    done: list[bytes] = field(default_factory=list)
    repeated: frozenset[bytes] = frozenset()
    """Directories that tar has to pass again."""
    max_runs: int = MAX_RUNS
    max_excluded: int = MAX_EXCLUDED
    many: int = MANY
    """Names in a directory that may be what killed tar."""
    _before: bytes = b""

    def go_on(self, last: bytes, why: str, cut: bool) -> bool:
        """Find out how to go on after the member `last`; return whether there is a way.

        Called in a thread.
        """
        self.runs += 1
        if not last and self.runs == 2:  # what it wrote may have been in its buffer
            return True
        if self.runs > self.max_runs or not last.startswith(b"."):
            return False
        parts = last.split(b"/")
        if len(parts) > DEEP + 1:
            last = b"/".join(parts[: DEEP + 1])
            self._record_loss(last, why)
        elif cut:
            self._record_loss(last, why, cut=True)
        elif last == self._before:
            unreadable = self._next_unreadable(last)
            if unreadable is None:
                return False
            self._record_loss(unreadable, why)
        self._before = last
        self._leave_out(last)
        return True

    def _record_loss(self, name: bytes, why: str, *, cut: bool = False) -> None:
        self.unreadable.append(name)
        self.losses.append(TarLoss(name[1:] or b"/", why, cut))

    def _leave_out(self, last: bytes) -> None:
        parts = last.split(b"/")
        self.done, room = [], self.max_excluded
        for level in range(1, len(parts)):
            parent = b"/".join(parts[:level])
            for name in self._finished(parent, parts[level]):
                room -= len(parent) + len(name) + 2
                if room < 0:
                    break
                self.done.append(parent + b"/" + name)
        # A directory's own row is written before what is in it; anything else is done.
        if not self._is_folder(last):
            self.done.append(last)
        self.repeated = frozenset(b"/".join(parts[:level]) for level in range(1, len(parts) + 1))

    def _finished(self, parent: bytes, until: bytes) -> list[bytes]:
        """Return the names in a directory before `until`; none if that is not there any more."""
        names = list[bytes]()
        for name in self._names(parent):
            if name == until:
                return names
            names.append(name)
        return []

    def _names(self, folder: bytes) -> Iterator[bytes]:
        """Yield the names in a directory in the kernel's order; none where it cannot be read."""
        try:
            with (
                opened(open_strictly(self.root, folder[2:])) as place,
                os.scandir(place) as entries,
            ):
                for entry in entries:
                    yield os.fsencode(entry.name)
        except OSError:
            return

    def _is_folder(self, name: bytes) -> bool:
        try:
            with opened(open_strictly(self.root, name[2:])):
                return True
        except OSError:
            return False

    def _next_unreadable(self, last: bytes) -> bytes | None:
        """Return which of the next members it must be that tar died in before it wrote it."""
        near = list(islice(self._following(last), _NEAR))
        folders = (name for name in near if self._is_folder(name))
        many = (name for name in folders if self._has_many(name))
        return next(many, near[0] if near else None)

    def _has_many(self, folder: bytes) -> bool:
        return sum(1 for _ in islice(self._names(folder), self.many)) >= self.many

    def _following(self, last: bytes) -> Iterator[bytes]:
        """Yield what tar visits after `last`, in its order, without what is left out."""
        out = {*self.unreadable}
        yield from self._descend(last, out, 0)
        while b"/" in last:
            parent, _, name = last.rpartition(b"/")
            names = self._names(parent)
            for found in names:
                if found == name:
                    break
            for found in names:
                yield from self._visited(parent + b"/" + found, out, 0)
            last = parent

    def _descend(self, folder: bytes, out: set[bytes], depth: int) -> Iterator[bytes]:
        if depth < _NEAR:
            for name in self._names(folder):
                yield from self._visited(folder + b"/" + name, out, depth + 1)

    def _visited(self, name: bytes, out: set[bytes], depth: int) -> Iterator[bytes]:
        if name not in out:
            yield name
            yield from self._descend(name, out, depth)

    @property
    def excluded(self) -> tuple[list[bytes], bytes]:
        """tar's arguments, and the content of a file, that together name what to leave out.

        A line of the file ends at a line break, and blanks at its ends would be cut off.
        """
        arguments, lines, room = list[bytes](), list[bytes](), _MAX_ARGUMENTS
        for name in (*self.unreadable, *self.done):
            if b"\n" not in name and name == name.strip():
                lines.append(name + b"\n")
            elif len(name) < _MAX_ARGUMENT and room > 0:
                room -= len(name)
                arguments.append(b"--exclude=" + name)
        return arguments, b"".join(lines)
