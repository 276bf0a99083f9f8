"""One pax archive of several mounts, with the paths that their files have in the container.

::

    archive = MountArchive()
    for block in archive.blocks([OpenMount(b"/dev/shm", descriptor)]): ...

It blocks, and is meant for a thread. Each mount is read through a descriptor of its own; what is
mounted within it is left out here, being a mount itself, and can therefore not make us wait. What
such a mount covers is there as `NAME (covered)`, or, where the kernel lets us not see it, told.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from collector.documents import BoundedNames, readable
from collector.files import pax, sparse
from collector.files.mounted import entries
from collector.files.safe_open import (
    mount_number,
    open_data,
    open_folder,
    open_member,
    open_strictly,
    opened,
)
from collector.node.abandonable import raise_if_abandoned
from forensics_core.tarindex.sparse import Piece

MAX_BYTES = 1024 * 1024 * 1024
"""Bytes of data in one archive, all mounts together."""
MAX_ENTRIES = 200_000
"""Members of one archive."""
MAX_PATH = 16 * 1024
"""Bytes of the path of a directory that is looked into."""
COVERED = b" (covered)"
"""Ends the name of what lies beneath a mount, as " (deleted)" does in /proc."""
BATCH = 256 * 1024
"""Bytes that are collected before they are handed on."""


@dataclass(frozen=True, slots=True)
class OpenMount:
    """A mount, open."""

    path: bytes
    """In the container."""
    place: int
    single: bool = False
    """Whether it has to be a regular file."""
    points: frozenset[bytes] = frozenset()
    """Where in the container other mounts lie."""
    volume: bool = False
    """Whether it counts among the volumes."""


@dataclass(slots=True)
class MountLoss:
    """What of one mount is not in the archive."""

    missing: BoundedNames = field(default_factory=BoundedNames)
    size: int = 0
    """Bytes of the files that are missing."""
    why: str = ""
    """Why the first is."""
    hung: bool = False
    """Whether the file system stopped answering."""

    def add(self, name: bytes, size: int, why: str) -> None:
        """Note one file or directory."""
        self.missing.add(readable(name))
        self.size += size
        self.why = self.why or why


@dataclass
class MountArchive:
    """The archive under way."""

    room: int = MAX_BYTES
    members: int = MAX_ENTRIES
    limits: tuple[int, int] = MAX_BYTES, MAX_ENTRIES
    """What both were at the beginning, for messages."""
    max_path: int = MAX_PATH
    batch: int = BATCH
    losses: dict[bytes, MountLoss] = field(default_factory=dict)
    """What is missing, by the path of the mount."""
    done: set[bytes] = field(default_factory=set)
    """Mounts that have been read to their end."""
    changed: BoundedNames = field(default_factory=BoundedNames)
    """Files that changed while they were read."""
    sockets: int = 0
    """Sockets, which no archive can hold."""
    _links: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """Names by device and inode: an overlay has files of more than one."""
    _waiting: bytearray = field(default_factory=bytearray)
    _owed: int = 0
    """Bytes that the member which is being read still lacks."""

    def blocks(self, tops: Iterable[OpenMount], end: bytes = pax.END) -> Iterator[bytes]:
        """Yield the archive in blocks; `end` is what ends it."""
        for part in self._parts(tops):
            self._waiting += part
            if len(self._waiting) >= self.batch:
                block = bytes(self._waiting)
                self._waiting.clear()
                yield block
        yield bytes(self._waiting) + end

    def abandon(self, path: bytes, why: str) -> Iterator[bytes]:
        """Yield what brings the member under way to its end, once a mount does not answer."""
        loss = self.losses.setdefault(path, MountLoss())
        loss.add(path, 0, why)
        loss.hung = True
        yield bytes(self._waiting)
        for done in range(0, self._owed, BATCH):
            yield bytes(min(BATCH, self._owed - done))

    def _parts(self, tops: Iterable[OpenMount]) -> Iterator[bytes]:
        for top in tops:
            self._links = {}
            loss = self.losses[top.path] = MountLoss()
            kind = stat.S_IFMT(os.fstat(top.place).st_mode)
            if top.single and kind != stat.S_IFREG:
                loss.add(top.path, 0, "it is not a regular file")
            else:
                yield from self._member(top.path, top.place, loss)
            if not top.single and kind == stat.S_IFDIR:
                yield from self._tree(top, loss)
            self.done.add(top.path)

    def _tree(self, top: OpenMount, loss: MountLoss) -> Iterator[bytes]:
        number = mount_number(top.place)
        waiting = [(b"", top.path)]
        while waiting:
            inner, path = waiting.pop()
            if len(inner) > self.max_path:
                loss.add(path, 0, "its path is too long")
                continue
            raise_if_abandoned()
            try:
                folder = open_strictly(top.place, inner, on_one_mount=True)
            except OSError as error:
                _lose(loss, path, error)
                continue
            with opened(folder):
                if mount_number(folder) != number:
                    continue
                for full, name, place in self._folder(path, folder, loss):
                    shown = _uncovered(full, place) if full in top.points else full
                    if not shown:
                        continue
                    if stat.S_ISDIR(os.fstat(place).st_mode):
                        waiting.append((inner + b"/" + name if inner else name, shown))
                    yield from self._member(shown, place, loss)

    def _folder(
        self, path: bytes, folder: int, loss: MountLoss
    ) -> Iterator[tuple[bytes, bytes, int]]:
        """Yield what is in a directory: each with its path, its name, and open."""
        names = entries(folder, self.members + 1)
        if len(names) > self.members:
            loss.add(path, 0, f"an archive holds {self.limits[1]} members at most")
        for name in names[: self.members]:
            full = path.rstrip(b"/") + b"/" + name
            try:
                place = open_member(folder, name)
            except OSError as error:
                _lose(loss, full, error)
                continue
            with opened(place):
                yield full, name, place

    def _member(self, path: bytes, place: int, loss: MountLoss) -> Iterator[bytes]:
        """Yield one member, if there is room for it."""
        found = os.fstat(place)
        if stat.S_ISSOCK(found.st_mode):
            self.sockets += 1
            return
        name = b"." + path
        if not stat.S_ISDIR(found.st_mode) and found.st_nlink > 1:
            first = self._links.setdefault((found.st_dev, found.st_ino), name)
            if first != name:
                yield self._headers(path, found, place, loss, first)
                return
        if not stat.S_ISREG(found.st_mode):
            yield self._headers(path, found, place, loss)
        else:
            yield from self._file(path, found, place, loss)

    def _headers(
        self, path: bytes, found: os.stat_result, place: int, loss: MountLoss, target: bytes = b""
    ) -> bytes:
        self.members -= 1
        try:
            return pax.headers(b"." + path, found, place, target)
        except OSError as error:
            loss.add(path, 0, f"it is stored without its attributes: {error.strerror}")
            return pax.headers(b"." + path, found, place, target, bare=True)

    def _file(
        self, path: bytes, found: os.stat_result, place: int, loss: MountLoss
    ) -> Iterator[bytes]:
        try:
            file = open_data(place)
        except OSError as error:
            # Another name of it must not become a link to a member that is not there.
            self._links.pop((found.st_dev, found.st_ino), None)
            loss.add(path, found.st_size, error.strerror or str(error))
            return
        with opened(file):
            pieces, why = self._pieces(file, found.st_size)
            if why:
                self._links.pop((found.st_dev, found.st_ino), None)
                loss.add(path, found.st_size, why)
                return
            self.room -= sparse.total(pieces)
            yield self._head(path, found, place, loss, pieces)
            yield from self._content(file, pieces)
            after = os.fstat(file)
            if (after.st_size, after.st_mtime_ns) != (found.st_size, found.st_mtime_ns):
                self.changed.add(readable(path))

    def _pieces(self, file: int, size: int) -> tuple[list[Piece], str]:
        """Return where a file has data, or why it is not to be read."""
        try:
            pieces = sparse.data_pieces(file, size)
        except OSError as error:
            return [], error.strerror or str(error)
        if sparse.total(pieces) > self.room:
            return [], f"an archive holds {self.limits[0]} bytes at most"
        return pieces, ""

    def _head(
        self,
        path: bytes,
        found: os.stat_result,
        place: int,
        loss: MountLoss,
        pieces: list[Piece],
    ) -> bytes:
        self.members -= 1
        try:
            return sparse.member(b"." + path, found, place, pieces)
        except OSError as error:
            loss.add(path, 0, f"it is stored without its attributes: {error.strerror}")
            return sparse.member(b"." + path, found, place, pieces, bare=True)

    def _content(self, file: int, pieces: list[Piece]) -> Iterator[bytes]:
        padding = pax.padding(sparse.total(pieces))
        self._owed = sparse.total(pieces) + len(padding)
        for offset, length in sparse.steps(pieces):
            block = sparse.read(file, offset, length)
            yield block
            self._owed -= len(block)
        self._owed = 0
        yield padding


def _lose(loss: MountLoss, path: bytes, error: OSError) -> None:
    """Note what cannot be opened, but not what is gone by now."""
    if error.errno == errno.EXDEV:
        loss.add(path, 0, "another mount covers it")
    elif error.errno != errno.ENOENT:
        loss.add(path, 0, error.strerror or str(error))


def _uncovered(path: bytes, place: int) -> bytes:
    """Return what to call what a mount covers; nothing where that is an empty stub.

    Under its own name is what the container sees there.
    """
    found = os.fstat(place)
    if stat.S_ISDIR(found.st_mode):
        with opened(open_folder(place)) as folder:
            used = bool(entries(folder, 1))
    else:
        used = found.st_size > 0 or not stat.S_ISREG(found.st_mode)
    return path + COVERED if used else b""
