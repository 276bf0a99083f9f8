"""How a container's files differ from its image's, read from its overlay.

Each row is a dictionary: `kind` (A added, C changed, D deleted), `path` with `raw` (base64) where
it is not UTF-8, `type`, `mode` (octal), `uid`, `gid`, `size` (bytes), `mtime`, `target` of a link,
`device`, `sha256` of a regular file, and `notes`. Of a deleted path they tell what the image has.

The notes: `identical` (copied up, but nothing differs), `mtimeRestored` (other content, though size
and time are the image's), `typeChanged` (`was` says from what), `opaque` (directory replaced),
`metacopy` (the content is the image's), `moved` (a directory renamed, `from` says from where),
`mountPlaceholder` (made by the runtime to mount on), `notHashed`, `changedWhileRead`, `unreadable`.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from collector.beneath import PLACE, attribute, open_data, open_strictly, opened
from collector.lowers import (
    Folder,
    Node,
    Piece,
    descend,
    is_opaque,
    is_whiteout,
    join,
    open_node,
)
from collector.text import readable

MAX_ROWS = 500_000
"""Rows of one container; then the list is truncated."""
MAX_HASHED = 4 * 1024**3
"""Bytes of one file that are hashed; a longer one gets none."""
_BLOCK = 1024 * 1024
_TICK = 64
"""Blocks of a long file between two chances to stop."""

Row = dict[str, Any]
Rows = Generator[Row | None, None, None]
"""Rows, and None where it may take long until the next."""

_PLACEHOLDERS = frozenset({b"etc/hosts", b"etc/hostname", b"etc/resolv.conf"})
_TYPES: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "directory"),
    (stat.S_ISLNK, "symlink"),
    (stat.S_ISFIFO, "fifo"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "character"),
    (stat.S_ISBLK, "block"),
)


@dataclass(frozen=True, slots=True)
class OpenLayers:
    """The directories of an overlay, as descriptors."""

    upper: int
    lowers: tuple[int, ...]
    """Topmost first."""
    marks: bytes
    placeholders: frozenset[bytes] = _PLACEHOLDERS
    """Paths, without the slash in front, that the runtime mounts something on."""


@dataclass(frozen=True, slots=True)
class _Visit:
    """A directory of the upper layer that is still to be read."""

    path: bytes
    image: tuple[Piece, ...]
    """The same directory in the image."""
    replaced: bool = False
    """Whether the image does not show through any more."""
    moved: bool = False


@dataclass(slots=True)
class ChangeSet:
    """One walk through the upper layer."""

    layers: OpenLayers
    max_rows: int = MAX_ROWS
    max_hashed: int = MAX_HASHED
    truncated: bool = field(default=False, init=False)
    changed_while_read: list[bytes] = field(default_factory=list, init=False)
    """Paths that were something else a moment later."""
    _left: list[_Visit] = field(default_factory=list, init=False)
    _count: int = field(default=0, init=False)

    def rows(self) -> Rows:
        """Yield the rows, folders before what is in them, each once."""
        top = tuple((root, b"") for root in self.layers.lowers)
        self._left.append(_Visit(b"", top))
        while self._left and not self.truncated:
            for row in self._visit(self._left.pop()):
                if row is not None:
                    self._count += 1
                    if self._count > self.max_rows:
                        self.truncated = True
                        return
                yield row

    def _visit(self, visit: _Visit) -> Rows:
        try:
            upper = open_strictly(self.layers.upper, visit.path)
        except OSError as error:
            self._moving(visit.path, error)
            return
        with opened(upper), Folder(visit.image, self.layers.marks) as image:
            names = self._names(upper)
            deeper: list[_Visit] = []
            for name in names:
                yield from self._entry(visit, upper, image, name, deeper)
            if visit.replaced:
                yield from self._lost(visit.path, image, {*names})
            self._left.extend(reversed(deeper))

    def _names(self, folder: int) -> list[bytes]:
        with os.scandir(folder) as entries:
            names = [os.fsencode(entry.name) for entry in islice(entries, self.max_rows + 1)]
        return sorted(names)

    def _moving(self, path: bytes, error: OSError) -> None:
        """Take note of what went away, or became something else, under our hands."""
        if error.errno not in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EXDEV, errno.EINVAL}:
            raise error
        self.changed_while_read.append(b"/" + path)

    def _entry(
        self, visit: _Visit, upper: int, image: Folder, name: bytes, deeper: list[_Visit]
    ) -> Rows:
        path = join(visit.path, name)
        try:
            place = os.open(name, PLACE, dir_fd=upper)
        except OSError as error:
            self._moving(path, error)
            return
        with opened(place):
            status, was = os.fstat(place), image.find(name)
            if is_whiteout(status, place, self.layers.marks):
                if was:  # else it was made by a rename, or hides what was never there
                    yield _deleted(path, was)
            elif stat.S_ISDIR(status.st_mode):
                yield self._folder(
                    _Visit(path, (), visit.replaced, visit.moved), place, was, deeper
                )
            else:
                yield from self._file(path, place, was, visit.moved)
                if was and was.folder:
                    with Folder(was.folder, self.layers.marks) as before:
                        yield from self._lost(path, before, set())

    def _folder(self, visit: _Visit, place: int, was: Node | None, deeper: list[_Visit]) -> Row:
        status = os.fstat(place)
        row = self._describe(visit.path, status, was)
        visit = replace(visit, image=was.folder if was else ())
        origin = self._origin(visit.path, place)
        if origin is not None:
            node, row["from"] = origin
            row["notes"].append("moved")
            visit = replace(visit, image=node.folder if node else (), moved=True)
        elif is_opaque(place, self.layers.marks):
            visit = replace(visit, replaced=True)
            if was and was.folder:
                row["notes"].append("opaque")
        elif was and was.folder and _alike(status, was.status):
            row["notes"].append("identical")
        deeper.append(visit)
        return row

    def _origin(self, path: bytes, place: int) -> tuple[Node | None, str] | None:
        """Return what a renamed directory was in the image, and its name there."""
        redirect = attribute(place, self.layers.marks + b"redirect")
        if redirect is None:
            return None
        if not redirect.startswith(b"/"):
            redirect = b"/" + join(path.rpartition(b"/")[0], redirect)
        top = tuple((root, b"") for root in self.layers.lowers)
        return descend(top, redirect, self.layers.marks), readable(redirect)

    def _lost(self, path: bytes, image: Folder, kept: set[bytes]) -> Rows:
        """Yield a row for each member of a directory that is not there any more."""
        for name in image.names(self.max_rows):
            was = image.find(name)
            if was and name not in kept:
                yield _deleted(join(path, name), was)

    def _file(self, path: bytes, place: int, was: Node | None, moved: bool) -> Rows:
        status = os.fstat(place)
        row = self._describe(path, status, was)
        if moved:
            row["notes"].append("moved")
        try:
            if stat.S_ISLNK(status.st_mode):
                target = os.readlink(b"", dir_fd=place)
                row["target"] = readable(target)
            elif stat.S_ISREG(status.st_mode):
                yield from self._content(row, path, place, was)
        except OSError as error:
            self._moving(path, error)
            row["notes"].append("changedWhileRead")
        if was and stat.S_IFMT(was.status.st_mode) == stat.S_IFMT(status.st_mode):
            yield from self._compare(row, status, was)
        yield row

    def _content(self, row: Row, path: bytes, place: int, was: Node | None) -> Rows:
        if attribute(place, self.layers.marks + b"metacopy") is None:
            row["sha256"] = yield from self._digest(place, row["size"])
        else:
            row["notes"].append("metacopy")
            origin = self._origin(path, place)
            node = origin[0] if origin else was
            if node:
                with opened(open_node(node)) as lower:
                    row["sha256"] = yield from self._digest(lower, node.status.st_size)
        if row.get("sha256") is None:
            row.pop("sha256", None)
            row["notes"].append("notHashed")

    def _digest(self, place: int, size: int) -> Generator[None, None, str | None]:
        """Return the SHA-256 of a regular file, or None if it is longer than the cap."""
        if size > self.max_hashed:
            return None
        digest, left = hashlib.sha256(), self.max_hashed
        with opened(open_data(place)) as data:
            while left > 0 and (block := os.read(data, min(_BLOCK, left))):
                digest.update(block)
                left -= len(block)
                if left // _BLOCK % _TICK == 0:
                    yield None
        return digest.hexdigest() if left > 0 else None

    def _compare(self, row: Row, status: os.stat_result, was: Node) -> Rows:
        """Note where nothing differs, or where only the content gives a change away."""
        if status.st_size != was.status.st_size or status.st_mtime_ns != was.status.st_mtime_ns:
            return
        same = yield from self._same_content(row, was)
        if same is False:
            row["notes"].append("mtimeRestored")
        elif same and _alike(status, was.status):
            row["notes"].append("identical")

    def _same_content(self, row: Row, was: Node) -> Generator[None, None, bool | None]:
        """Return whether file or link hold what the image has; None where nobody knows."""
        with opened(open_node(was)) as lower:
            if row["type"] == "symlink":
                return row.get("target") == readable(os.readlink(b"", dir_fd=lower))
            if row["type"] != "file":
                return True
            before = yield from self._digest(lower, was.status.st_size)
        return before == row["sha256"] if before and "sha256" in row else None

    def _describe(self, path: bytes, status: os.stat_result, was: Node | None) -> Row:
        row = {"kind": "C" if was else "A", **_spell(path), **describe(status), "notes": []}
        if was and stat.S_IFMT(was.status.st_mode) != stat.S_IFMT(status.st_mode):
            row["notes"].append("typeChanged")
            row["was"] = kind_of(was.status)
        empty = stat.S_ISDIR(status.st_mode) or (
            stat.S_ISREG(status.st_mode) and not status.st_size
        )
        if empty and path in self.layers.placeholders:
            row["notes"].append("mountPlaceholder")
        return row


def describe(status: os.stat_result) -> Row:
    """Return what stat(2) says, spelled for JSON."""
    row: Row = {
        "type": kind_of(status),
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "uid": status.st_uid,
        "gid": status.st_gid,
        "size": status.st_size,
        "mtime": _time(status.st_mtime_ns),
    }
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        row["device"] = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return row


def kind_of(status: os.stat_result) -> str:
    """Return the word for a file's type."""
    return next((word for test, word in _TYPES if test(status.st_mode)), "unknown")


def _deleted(path: bytes, was: Node) -> Row:
    return {"kind": "D", **_spell(path), **describe(was.status), "notes": []}


def _spell(path: bytes) -> Row:
    whole = b"/" + path
    text = readable(whole)
    if text.encode() == whole:
        return {"path": text}
    return {"path": text, "raw": base64.b64encode(whole).decode()}


def _time(nanoseconds: int) -> str:
    """Return RFC 3339 with nine digits; a time that no calendar has becomes its number."""
    seconds, rest = divmod(nanoseconds, 10**9)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
    except (ValueError, OverflowError, OSError):
        return f"@{seconds}.{rest:09d}"


def _alike(one: os.stat_result, other: os.stat_result) -> bool:
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("st_mode", "st_uid", "st_gid", "st_mtime_ns")
    )


def batches(rows: Rows, most: int = 256) -> Iterator[list[Row]]:
    """Yield rows as lists; every list, even an empty one, comes without long waits."""
    batch: list[Row] = []
    for row in rows:
        if row is not None:
            batch.append(row)
        if row is None or len(batch) >= most:
            yield batch
            batch = []
    yield batch
