"""What an overlay's lower layers, taken together, show in one directory: the image.

This is the kernel's own rule: the topmost layer that has a name decides; whiteouts hide what is
below them, opaque directories too, and directories of several layers merge.

Source: Documentation/filesystems/overlayfs.rst
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from collector.files.safe_open import PLACE, attribute, open_strictly, opened

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
"""What the kernel says of what is not there; everything else leaves it open what is."""

LayerPath = tuple[int, bytes]
"""A directory of one layer: the layer's root, and the path in it."""


def is_whiteout(status: os.stat_result, place: int, marks: bytes) -> bool:
    """Return whether an entry of a layer says that its name is deleted."""
    # A device 0:0; or, since Linux 6.7, where none can be made, an empty file that is marked.
    if stat.S_ISCHR(status.st_mode):
        return status.st_rdev == 0
    empty = stat.S_ISREG(status.st_mode) and status.st_size == 0
    return empty and attribute(place, marks + b"whiteout") is not None


def is_opaque(place: int, marks: bytes) -> bool:
    """Return whether a directory hides the same directory of the layers below."""
    return attribute(place, marks + b"opaque") == b"y"


@dataclass(frozen=True, slots=True)
class LowerEntry:
    """What the image has under one name."""

    status: os.stat_result
    piece: LayerPath
    """Where it is; of a directory, the topmost part."""
    folder: tuple[LayerPath, ...] = ()
    """All parts of a directory, topmost first."""


class LowerDirectory:
    """A directory of the image, as the layers in `pieces` make it up; none of them may be there.

    What cannot be read raises `OSError` only where the answer depends on it.
    """

    def __init__(self, pieces: tuple[LayerPath, ...], marks: bytes) -> None:
        self._pieces = pieces
        self._marks = marks
        self._stack = ExitStack()
        self._parts: list[tuple[int | OSError, LayerPath]] = []
        self.cut = False
        """Whether it has more members than were yielded."""

    def __enter__(self) -> LowerDirectory:
        for root, path in self._pieces:
            try:
                part = self._stack.enter_context(opened(open_strictly(root, path)))
                self._parts.append((part, (root, path)))
            except OSError as error:
                if error.errno not in _ABSENT:
                    self._parts.append((error, (root, path)))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def find(self, name: bytes) -> LowerEntry | None:
        """Return what the image has under `name`, or None."""
        found: list[tuple[os.stat_result, LayerPath]] = []
        for part, (root, path) in self._parts:
            place = _place(part, name)
            if place is None:
                continue
            with opened(place):
                status = os.fstat(place)
                if is_whiteout(status, place, self._marks):
                    break
                folder = stat.S_ISDIR(status.st_mode)
                # A directory goes on below, but not as a file: what is no directory there is
                # hidden.
                if folder or not found:
                    found.append((status, (root, join(path, name))))
                if not folder or is_opaque(place, self._marks):
                    break
        if not found:
            return None
        status, piece = found[0]
        pieces = tuple(each for _, each in found) if stat.S_ISDIR(status.st_mode) else ()
        return LowerEntry(status, piece, pieces)

    def members(self, limit: int) -> Iterator[tuple[bytes, LowerEntry]]:
        """Yield what the image has here, by names, `limit` of them at most."""
        seen = set[bytes]()
        for part, _ in self._parts:
            with os.scandir(_readable(part)) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    if len(seen) >= limit and name not in seen:
                        self.cut = True
                        break
                    seen.add(name)
        for name in sorted(seen):
            if node := self.find(name):
                yield name, node


def _readable(part: int | OSError) -> int:
    if isinstance(part, OSError):
        raise part
    return part


def _place(part: int | OSError, name: bytes) -> int | None:
    """Open a name in a part of a directory; None where it has no such."""
    try:
        return os.open(name, PLACE, dir_fd=_readable(part))
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise


def descend(pieces: tuple[LayerPath, ...], path: bytes, marks: bytes) -> LowerEntry | None:
    """Return what the image has at `path`, relative to the directory that `pieces` make up."""
    node = None
    for name in (part for part in path.split(b"/") if part):
        with LowerDirectory(pieces, marks) as folder:
            node = folder.find(name)
        if node is None:
            return None
        pieces = node.folder
    return node


def open_node(node: LowerEntry) -> int:
    """Open the place of a node. Raises `OSError` if it is not there any more."""
    root, path = node.piece
    return open_strictly(root, path, PLACE)


def join(folder: bytes, name: bytes) -> bytes:
    """Return the path of `name` in `folder`, where the top is empty."""
    return folder + b"/" + name if folder else name
