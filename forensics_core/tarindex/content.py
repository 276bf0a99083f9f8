"""Hashing what is in a file, piece by piece, holes included."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import chain

from forensics_core.tarindex.sparse import Piece

MAX_HOLES = 1024 * 1024 * 1024
"""Bytes of holes in one archive that are hashed as zeros: files may claim exabytes of them."""
_ZEROS = memoryview(bytes(1024 * 1024))


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
