"""Where the data of a sparse file lies: the map of GNU's format 1.0, in front of the data.

Source: https://www.gnu.org/software/tar/manual/html_node/PAX-1.html
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from forensics_core.tarindex.headers import BLOCK, NotTar

MAX_PIECES = 1_000_000
"""Pieces of data that a map may have."""
MAX_SIZE = 2**63 - 1
"""Bytes that a file can have."""
_MAX_LINE = 24

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


def _natural(line: bytes) -> int:
    if not line.isdigit() or len(line) > _MAX_LINE or (number := int(line)) > MAX_SIZE:
        raise NotTar("a sparse file's map is damaged")
    return number
