"""The seek table of a zstd archive made of independent frames.

It lies in a skippable frame at the archive's end, so that `zstd -d` still reads all of it as one
stream, and a reader that knows the table can start in the middle.

Source: https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, overload

# By the format: decoders pass over any skippable frame, and the number at its end says whose it is.
_SKIPPABLE = 0x184D2A5E
_SEEKABLE = 0x8F92EAB1
_HEADER = struct.Struct("<II")
_ENTRY = struct.Struct("<II")
_FOOTER = struct.Struct("<IBI")

FOOTER_SIZE = _FOOTER.size
"""Bytes at the very end that say how long the table is."""


class Frame(NamedTuple):
    """One frame's sizes, in bytes."""

    stored: int
    original: int


class Frames(Sequence[Frame]):
    """The frames of a table, which stay as they are stored: a hostile table has millions."""

    def __init__(self, entries: memoryview, step: int) -> None:
        self._entries = entries
        self._step = step

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._entries) // self._step

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | Sequence[Frame]:
        """Return one frame, or some."""
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        return Frame(*_ENTRY.unpack_from(self._entries, at * self._step))

    def __iter__(self) -> Iterator[Frame]:
        """Yield all of them."""
        for start in range(0, len(self._entries), self._step):
            yield Frame(*_ENTRY.unpack_from(self._entries, start))


def encode(frames: Iterable[Frame]) -> bytes:
    """Return the table as a skippable frame."""
    entries = b"".join(_ENTRY.pack(*frame) for frame in frames)
    # No checksums in the table: each frame carries its own, and the manifest vouches for all of it.
    footer = _FOOTER.pack(len(entries) // _ENTRY.size, 0, _SEEKABLE)
    return _HEADER.pack(_SKIPPABLE, len(entries) + len(footer)) + entries + footer


def table_size(footer: bytes) -> int:
    """Return the length in bytes of the whole table, from its last `FOOTER_SIZE` bytes.

    Raises `ValueError` where there is no table.
    """
    count, descriptor, magic = _FOOTER.unpack(footer)
    if magic != _SEEKABLE:
        raise ValueError("no seek table at the end")
    return _HEADER.size + int(count) * _entry_size(descriptor) + _FOOTER.size


def decode(table: bytes) -> Frames:
    """Return the frames that `table`, a whole skippable frame, lists. Raises `ValueError`."""
    if len(table) < _HEADER.size + _FOOTER.size:
        raise ValueError("the seek table is cut short")
    magic, length = _HEADER.unpack_from(table)
    count, descriptor, end = _FOOTER.unpack_from(table, len(table) - _FOOTER.size)
    step = _entry_size(descriptor)
    # Both lengths have to be that of the count: what is said twice in a hostile table may differ.
    whole = _HEADER.size + count * step + _FOOTER.size
    if (magic, end) != (_SKIPPABLE, _SEEKABLE) or (len(table), length) != (
        whole,
        whole - _HEADER.size,
    ):
        raise ValueError("the seek table is damaged")
    return Frames(memoryview(table)[_HEADER.size : _HEADER.size + count * step], step)


def _entry_size(descriptor: int) -> int:
    """Entries carry four bytes more where the descriptor's top bit says they hold checksums."""
    return _ENTRY.size + (4 if descriptor & 0x80 else 0)
