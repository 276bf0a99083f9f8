"""What lies in a layer's directory though its archive has nothing there."""

from __future__ import annotations

import os
import stat
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from collector.files.lower_layers import is_opaque
from collector.files.safe_open import FOLDER, PLACE, open_strictly, opened

OPAQUE = b"/.wh..wh..opq"
"""How an archive says that a directory hides what layers below have."""
_TURN = 256


@dataclass(frozen=True, slots=True)
class ExtrasLimits:
    """How much of a layer is looked at for what its archive does not have."""

    names: int = 2_000_000
    """Names of a layer that are remembered, eight bytes each; with more, nothing is looked for."""
    entries: int = 1_000_000
    """Names of one directory that are looked at."""
    waiting: int = 200_000
    """Directories that may wait to be looked into."""


EXTRAS_LIMITS = ExtrasLimits()


class ExpectedNames:
    """The paths that an archive makes something at, with all above them."""

    def __init__(self, most: int = EXTRAS_LIMITS.names) -> None:
        self._most = most
        self._hashes = array("q")
        self._parent = b""
        self._sorted = True
        self.full = False
        """Whether there were too many, so that nobody knows what is extra."""

    def add(self, path: bytes) -> None:
        """Expect something at `path`, absolute."""
        if len(self._hashes) >= self._most:
            self.full = True
            return
        self._sorted = False
        self._hashes.append(hash(path))
        parent = path.rpartition(b"/")[0]
        if parent == self._parent:
            return
        self._parent = parent
        while parent:
            self._hashes.append(hash(parent))
            parent = parent.rpartition(b"/")[0]

    def __contains__(self, path: bytes) -> bool:
        if not self._sorted:
            self._hashes = array("q", sorted(self._hashes))
            self._sorted = True
        value = hash(path)
        place = bisect_left(self._hashes, value)
        return place < len(self._hashes) and self._hashes[place] == value


def find_extras(
    folder: int,
    expected: ExpectedNames,
    placeholders: frozenset[bytes],
    marks: bytes = b"",
    limits: ExtrasLimits = EXTRAS_LIMITS,
) -> Iterator[bytes | None]:
    """Yield the absolute paths of what is extra, and None after every few names.

    Of a directory that is extra nothing further is told. `placeholders` may lie there as long as
    they are empty. A directory that hides what layers below have, by attributes whose names begin
    with `marks`, has an extra `.wh..wh..opq`. Raises `OSError`, also where directories or names are
    too many.
    """
    waiting = [b""]
    while waiting:
        path = waiting.pop()
        with (
            opened(open_strictly(folder, path[1:], FOLDER)) as place,
            os.scandir(place) as entries,
        ):
            if marks and is_opaque(place, marks) and path + OPAQUE not in expected:
                yield path + OPAQUE
            for number, entry in _some(entries, limits.entries):
                if number % _TURN == 0:
                    yield None
                below = path + b"/" + os.fsencode(entry.name)
                if below not in expected and not (
                    below in placeholders and _is_empty(place, entry.name)
                ):
                    yield below
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append(below)
        if len(waiting) > limits.waiting:
            raise OSError("it has too many directories")


def _some(entries: Iterable[os.DirEntry[str]], most: int) -> Iterator[tuple[int, os.DirEntry[str]]]:
    for number, entry in enumerate(entries):
        if number == most:
            raise OSError("a directory of it has too many names")
        yield number, entry


def _is_empty(folder: int, name: str) -> bool:
    """Whether what lies there is without content: a directory, a link, a file of no bytes."""
    with opened(os.open(name, PLACE, dir_fd=folder)) as place:
        status = os.fstat(place)
        return not stat.S_ISREG(status.st_mode) or not status.st_size
