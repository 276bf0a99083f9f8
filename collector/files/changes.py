"""How a container's files differ from its image's, read from its overlay.

Each row is a dictionary: `kind` (A added, C changed, D deleted), `path` with `raw` (base64) where
it is not UTF-8, `type`, `mode` (octal), `uid`, `gid`, `size` (bytes), `mtime`, `ctime`, `nlink`,
`target` of a link, `device`, `sha256` of a regular file, `xattrs` that the image does not have so,
`capabilities` as text, `program` (`ELF` or `script`) of an executable file, `attributes` and
`project` as `chattr` sets them, and `notes`. Of a deleted path they tell what the image has.

The notes: `identical` (copied up, but nothing differs), `mtimeRestored` (other content, though size
and time are the image's), `xattrsChanged`, `attributesChanged`, `typeChanged` (`was` says from
what), `opaque` (directory replaced), `metacopy` (the content is the image's), `moved` (a directory
renamed, or in one; `from` says from where), `newExecutable` (the image has no executable file
there), `executableChanged` (it has, of other content, or nobody knows), `setuid`, `setgid` (the
image has no such bit there, or for another owner), `capabilitiesAdded` (other ones than the image's
or new), `capabilitiesRemoved`, `mountPlaceholder` (made by the runtime to mount on),
`notHashed`, `notListed` (a directory too deep, or one of too many), `changedWhileRead`,
`unreadable`.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice

from collector.documents import BoundedNames, readable
from collector.files.comparison import FileComparer
from collector.files.entries import MAX_XATTRS, EntryRow, describe, kind_of, same_status, spell
from collector.files.hashing import HashingBudget
from collector.files.lower_layers import (
    LowerDirectory,
    LowerEntry,
    descend,
    is_opaque,
    is_whiteout,
    join,
)
from collector.files.safe_open import PLACE, attribute, open_strictly, opened
from collector.files.walk_queue import PendingDirectory, UpperEntry, WalkQueue, note_origin

MAX_ROWS = 500_000
"""Rows of one container; then the list is truncated."""
MAX_BYTES = 256 * 1024 * 1024
"""Letters of all rows; likewise."""
TURN, _BATCH = 64, 1024 * 1024
"""Steps of work, and letters, after which others have a turn."""

Rows = Generator[EntryRow | None, None, None]
"""Rows, and None after every other step of work."""

_PLACEHOLDERS = frozenset({b"etc/hosts", b"etc/hostname", b"etc/resolv.conf"})
_MOVING = {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EXDEV, errno.EINVAL}


@dataclass(frozen=True, slots=True)
class OpenLayers:
    """The directories of an overlay, as descriptors."""

    upper: int
    lower_layers: tuple[int, ...]
    """Topmost first."""
    marks: bytes
    placeholders: frozenset[bytes] = _PLACEHOLDERS
    """Paths, without the slash in front, that the runtime mounts something on."""


@dataclass(slots=True)
class ChangeSet:
    """One walk through the upper layer."""

    layers: OpenLayers
    max_rows: int = MAX_ROWS
    max_bytes: int = MAX_BYTES
    hashing: HashingBudget = field(default_factory=HashingBudget)
    until: float = math.inf
    """When it ends, by `time.monotonic`, with what it has."""
    turn: int = TURN
    """Steps of work after which others have a turn."""
    max_xattrs: int = MAX_XATTRS
    """Bytes of attributes of one file that are in its row."""
    waiting: WalkQueue = field(default_factory=WalkQueue)
    """The directories that are still to be looked into, and how many there may be."""
    cut: str = field(default="", init=False)
    """Why it ended before its end, in the manifest's word."""
    changed: BoundedNames = field(default_factory=BoundedNames, init=False)
    """What was something else a moment later."""
    unreadable: BoundedNames = field(default_factory=BoundedNames, init=False)
    unlisted: BoundedNames = field(default_factory=BoundedNames, init=False)
    """Directories that were not looked into, being too deep or too many."""

    def batches(self) -> Iterator[list[str]]:
        """Yield the rows as JSON; every list, even an empty one, after little work."""
        batch, work, size, total = list[str](), 0, 0, 0
        for row in self.rows():
            work += 1
            if row is not None:
                batch.append(json.dumps(row, ensure_ascii=False))
                size += len(batch[-1])
            if work >= self.turn or size >= _BATCH:
                total += size
                if total > self.max_bytes:
                    self.end("TooLarge")
                yield batch
                batch, work, size = [], 0, 0
        yield batch

    def end(self, reason: str) -> None:
        """Let the walk end with what it has; may be called from another thread."""
        self.cut = self.cut or reason

    def rows(self) -> Rows:
        """Yield the rows, folders before what is in them, each once."""
        count = 0
        self.waiting.push(
            [PendingDirectory(b"", tuple((root, b"") for root in self.layers.lower_layers))]
        )
        while self.waiting.waiting and not self._over():
            for row in self._compare(self.waiting.pop()):
                count += row is not None
                if count > self.max_rows:
                    self.end("TooLarge")
                if self._over():
                    return
                yield row

    def _over(self) -> bool:
        if time.monotonic() >= self.until:
            self.end("Deadline")
        return bool(self.cut)

    def _compare(self, pending: PendingDirectory) -> Rows:
        deeper, marks = list[PendingDirectory](), self.layers.marks
        with ExitStack() as stack:
            image = stack.enter_context(LowerDirectory(pending.image, marks))
            covered = stack.enter_context(LowerDirectory(pending.covered, marks))
            names = list[bytes]()
            try:
                if pending.written:
                    upper = open_strictly(self.layers.upper, pending.path)
                    stack.enter_context(opened(upper))
                    names = self._names(upper)
                for name in names:
                    yield from self._entry(pending, upper, name, image, covered, deeper)
                yield from self._lost(pending, image, covered, {*names}, deeper)
            except OSError as error:
                self._trouble(pending.path, error)
            if image.cut or covered.cut or len(names) > self.max_rows:
                self.unlisted.add(readable(b"/" + pending.path))
        self.waiting.push(deeper)

    def _names(self, folder: int) -> list[bytes]:
        with os.scandir(folder) as entries:
            names = [os.fsencode(entry.name) for entry in islice(entries, self.max_rows + 1)]
        return sorted(names)

    def _trouble(self, path: bytes, error: OSError) -> str:
        """Take note of what went away or became something else under our hands, or is broken."""
        moving = error.errno in _MOVING
        (self.changed if moving else self.unreadable).add(readable(b"/" + path))
        return "changedWhileRead" if moving else "unreadable"

    def _entry(
        self,
        pending: PendingDirectory,
        upper: int,
        name: bytes,
        image: LowerDirectory,
        covered: LowerDirectory,
        deeper: list[PendingDirectory],
    ) -> Rows:
        yield None
        try:
            with opened(os.open(name, PLACE, dir_fd=upper)) as place:
                was = image.find(name)
                member = UpperEntry(pending, name, place, image, was, covered.find(name))
                yield from self._row(member, deeper)
        except OSError as error:
            path = join(pending.path, name)
            if self._trouble(path, error) == "unreadable":
                yield {"kind": "C", **spell(path), "notes": ["unreadable"]}

    def _row(self, member: UpperEntry, deeper: list[PendingDirectory]) -> Rows:
        status = os.fstat(member.place)
        if is_whiteout(status, member.place, self.layers.marks):
            if member.before:  # else a rename made it, or it hides what was never there
                yield _deleted(member.path, member.before, member.origin)
        elif stat.S_ISDIR(status.st_mode):
            yield self._folder(member, status, deeper)
        else:
            yield from self._file(member, status)
            self._enter(replace(member.inside(), shows=False, written=False), deeper)

    def _folder(
        self, member: UpperEntry, status: os.stat_result, deeper: list[PendingDirectory]
    ) -> EntryRow:
        row = self._describe(member, status)
        inside = self._inside(member)
        note_origin(row, inside.origin)
        stays = inside.origin == member.origin
        was = member.before if stays and member.before and member.before.folder else None
        try:
            same = self._comparison.note_attributes(row, member.place, was)
        except OSError as error:
            row["notes"].append(self._trouble(member.path, error))
            same = False
        if was and member.pending.shows and not inside.shows:
            row["notes"].append("opaque")
        elif was and inside.shows and same and same_status(status, was.status):
            row["notes"].append("identical")
        if not self._enter(inside, deeper):
            row["notes"].append("notListed")
        return row

    def _enter(self, inside: PendingDirectory, deeper: list[PendingDirectory]) -> bool:
        """Remember to look into a directory, unless its path or their number is absurd."""
        needed = inside.written or bool(inside.image or inside.covered)
        if needed and not self.waiting.has_room(inside, len(deeper)):
            self.unlisted.add(readable(b"/" + inside.path))
            return False
        if needed:
            deeper.append(inside)
        return True

    def _inside(self, member: UpperEntry) -> PendingDirectory:
        """Return what a directory is compared with, by the kernel's rules."""
        inside = member.inside()
        if is_opaque(member.place, self.layers.marks):
            return replace(inside, shows=False)
        redirected = self._redirected(member)
        if redirected is None:
            return inside
        node, origin = redirected
        return PendingDirectory(member.path, node.folder if node else (), True, origin, member.own)

    def _redirected(self, member: UpperEntry) -> tuple[LowerEntry | None, bytes] | None:
        """Return what a renamed directory, or file without content, was in the image, and where.

        A path is one of the whole image, a mere name one of the directory that it lay in before.
        """
        redirect = attribute(member.place, self.layers.marks + b"redirect")
        if redirect is None:
            return None
        if not {b".", b".."}.isdisjoint(redirect.split(b"/")):
            return None, redirect
        if not redirect.startswith(b"/"):
            return member.image.find(redirect), member.pending.path_in_image(redirect)
        top = tuple((root, b"") for root in self.layers.lower_layers)
        return descend(top, redirect, self.layers.marks), redirect.strip(b"/")

    def _lost(
        self,
        pending: PendingDirectory,
        image: LowerDirectory,
        covered: LowerDirectory,
        kept: set[bytes],
        deeper: list[PendingDirectory],
    ) -> Rows:
        """Yield a row for each member of the image's directory that is not there any more."""
        if not pending.shows:
            for name, was in image.members(self.max_rows):
                if name not in kept:
                    kept.add(name)
                    yield _deleted(join(pending.path, name), was, pending.origin_of(name))
        for name, was in covered.members(self.max_rows):
            yield None
            now = image.find(name) if pending.shows else None
            path = join(pending.path, name)
            if name not in kept and now is None:
                yield _deleted(path, was, None)
            elif name not in kept and now and was.folder:
                origin = pending.path_in_image(name)
                self._enter(
                    PendingDirectory(path, now.folder, True, origin, was.folder, False), deeper
                )

    def _file(self, member: UpperEntry, status: os.stat_result) -> Rows:
        row = note_origin(self._describe(member, status), member.origin)
        try:
            was, below = member.before, member.before
            if attribute(member.place, self.layers.marks + b"metacopy") is not None:
                row["notes"].append("metacopy")
                redirected = self._redirected(member)
                below = redirected[0] if redirected else was
            if "was" in row:
                was = None
            yield from self._comparison.compare(row, member.place, was, below)
        except OSError as error:
            row["notes"].append(self._trouble(member.path, error))
        yield row

    @property
    def _comparison(self) -> FileComparer:
        return FileComparer(self.layers.marks, self.hashing, self.max_xattrs)

    def _describe(self, member: UpperEntry, status: os.stat_result) -> EntryRow:
        path, was = member.path, member.before
        row = {"kind": "C" if was else "A", **spell(path), **describe(status), "notes": []}
        if was and stat.S_IFMT(was.status.st_mode) != stat.S_IFMT(status.st_mode):
            row["notes"].append("typeChanged")
            row["was"] = kind_of(was.status)
        empty = stat.S_ISDIR(status.st_mode) or (
            stat.S_ISREG(status.st_mode) and not status.st_size
        )
        if empty and path in self.layers.placeholders:
            row["notes"].append("mountPlaceholder")
        return row


def _deleted(path: bytes, was: LowerEntry, origin: bytes | None) -> EntryRow:
    row: EntryRow = {"kind": "D", **spell(path), **describe(was.status), "notes": []}
    return note_origin(row, origin)
