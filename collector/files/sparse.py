"""Members of a pax archive whose files have holes: the holes are not read, and not stored.

::

    pieces = data_pieces(file, size)
    head = member(b"./1234/exe", os.fstat(file), file, pieces)

The format is GNU's 1.0, which GNU tar, bsdtar and Python read.

Source: https://www.gnu.org/software/tar/manual/html_node/PAX-1.html, lseek(2)
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence

from collector.files import pax
from forensics_core.tarindex.sparse import Piece

MAX_PIECES = 100_000
"""Pieces of one file that are told apart; what lies behind the last of them is read with its
holes."""


def data_pieces(file: int, size: int, most: int = MAX_PIECES) -> list[Piece]:
    """Return where the data of an open file of `size` bytes lies: in order, `most` pieces at most.

    One piece, all of it, where the file system does not tell. Raises `OSError`.
    """
    found, at = list[Piece](), 0
    while at < size:
        try:
            begin = os.lseek(file, at, os.SEEK_DATA)
            end = min(os.lseek(file, begin, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                break
            if error.errno == errno.EINVAL:
                return [(0, size)]
            raise
        if begin >= size:
            break
        if len(found) + 1 >= most:
            end = size
        found.append((begin, end - begin))
        at = end
    return found


def total(pieces: Sequence[Piece]) -> int:
    """Return the bytes of data in them."""
    return sum(length for _, length in pieces)


def member(
    name: bytes,
    found: os.stat_result,
    place: int,
    pieces: Sequence[Piece],
    more: Mapping[bytes, bytes] | None = None,
    *,
    bare: bool = False,
) -> bytes:
    """Return what comes before the data of a regular file: its headers, and the map of its holes.

    Without a hole it is a member like any other. `more` and `bare` are those of `pax.headers`.
    """
    size = found.st_size
    if total(pieces) == size:
        return pax.headers(name, found, place, more=more, bare=bare)
    table = b"".join(b"%d\n" % number for number in _numbers(pieces, size))
    table += pax.padding(len(table))
    folder, _, last = name.rpartition(b"/")
    records = {
        b"GNU.sparse.major": b"1",
        b"GNU.sparse.minor": b"0",
        b"GNU.sparse.name": name,
        b"GNU.sparse.realsize": b"%d" % size,
        **(more or {}),
    }
    stored = len(table) + total(pieces)
    shown = folder + b"/GNUSparseFile.0/" + last
    return pax.headers(shown, found, place, stored=stored, more=records, bare=bare) + table


def _numbers(pieces: Sequence[Piece], size: int) -> Iterator[int]:
    # GNU tar ends a map with an empty piece where the file ends in a hole.
    ends_in_hole = not pieces or sum(pieces[-1]) < size
    yield len(pieces) + ends_in_hole
    for offset, length in [*pieces, *([(size, 0)] if ends_in_hole else [])]:
        yield offset
        yield length


def steps(pieces: Sequence[Piece], step: int = pax.STEP) -> Iterator[Piece]:
    """Yield the pieces in parts of `step` bytes at most."""
    for offset, length in pieces:
        for done in range(0, length, step):
            yield offset + done, min(step, length - done)


def read(file: int, offset: int, length: int) -> bytes:
    """Return that much of an open file, zeros in the place of what is not there any more."""
    found = bytearray()
    while len(found) < length and (
        block := os.pread(file, length - len(found), offset + len(found))
    ):
        found += block
    return bytes(found.ljust(length, b"\0"))
