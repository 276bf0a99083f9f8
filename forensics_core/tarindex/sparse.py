"""A sparse file: the map of GNU's format 1.0, in front of the data, and its digest, holes included.

Source: https://www.gnu.org/software/tar/manual/html_node/PAX-1.html
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from itertools import chain

from forensics_core.tarindex.headers import BLOCK, NotTar

MAX_PIECES = 1_000_000
"""Pieces of data that a map may have."""
MAX_SIZE = 2**63 - 1
"""Bytes that a file can have."""
_MAX_LINE = 24
MAX_HOLES = 1024 * 1024 * 1024
"""Bytes of holes in one archive that are hashed as zeros: files may claim exabytes of them."""
_ZEROS = memoryview(bytes(1024 * 1024))

Piece = tuple[int, int]
"""Where a run of data begins in the file, and its length in bytes."""


class SparseMap:
    """A map being read, a block at a time."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._numbers = array("q")
        self._rest = b""
        self.blocks = 0
        """Blocks so far."""

    def feed(self, block: bytes) -> bool:
        """Take the next block; return whether the map is whole. Raises `NotTar`."""
        *lines, self._rest = (self._rest + block).split(b"\n")
        self.blocks += 1
        for line in lines:
            if self._whole():
                break
            self._numbers.append(_natural(line))
        whole = self._whole()
        if not whole and len(self._rest) > _MAX_LINE:
            raise NotTar("a sparse file's map is damaged")
        return whole

    def _whole(self) -> bool:
        if self._numbers and self._numbers[0] > MAX_PIECES:
            raise NotTar("a sparse file's map is too long")
        return bool(self._numbers) and len(self._numbers) == 1 + 2 * self._numbers[0]

    def check(self, stored: int) -> None:
        """Raise `NotTar` unless the pieces are in order, fit, and are `stored` bytes together."""
        end = total = 0
        for offset, length in self.pieces():
            if offset < end:
                raise NotTar("a sparse file's map goes back")
            end = offset + length
            total += length
        if end > self._size or total != stored:
            raise NotTar("a sparse file's map does not fit its data")

    def pieces(self) -> Iterator[Piece]:
        """Yield the pieces in their order."""
        numbers = iter(self._numbers[1:])
        return zip(numbers, numbers, strict=True)

    @property
    def length(self) -> int:
        """Bytes that the map takes, padding included."""
        return self.blocks * BLOCK


class SparseContent:
    """The SHA-256 of a sparse file as somebody would read it, from its pieces of data."""

    def __init__(self, pieces: Iterable[Piece], size: int) -> None:
        self._pieces = iter(chain(pieces, [(size, 0)]))
        self._sha256 = hashlib.sha256()
        self._at = 0
        self._left = 0
        self._next()

    def update(self, data: memoryview) -> None:
        """Take the next bytes of data, of as many pieces as they are."""
        while data:
            taken = data[: self._left]
            self._sha256.update(taken)
            self._at += len(taken)
            self._left -= len(taken)
            data = data[len(taken) :]
            if not self._left:
                self._next()

    def hexdigest(self) -> str:
        """Return the digest, once all data was there."""
        return self._sha256.hexdigest()

    def _next(self) -> None:
        """Go to the next piece that is not empty, or to the end."""
        for offset, length in self._pieces:
            self._pass_over(offset - self._at)
            self._at = offset
            if length:
                self._left = length
                return

    def _pass_over(self, hole: int) -> None:
        while hole > 0:
            self._sha256.update(_ZEROS[: min(hole, len(_ZEROS))])
            hole -= len(_ZEROS)


def _natural(line: bytes) -> int:
    if not line.isdigit() or len(line) > _MAX_LINE or (number := int(line)) > MAX_SIZE:
        raise NotTar("a sparse file's map is damaged")
    return number
