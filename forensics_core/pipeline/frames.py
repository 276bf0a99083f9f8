"""Where the frames of a zstd stream end, seen without decompressing any of them::

    splitter = FrameSplitter(largest=8 * MIB)
    for frame in splitter.feed(block): ...

Frames that come one after the other can so be decompressed at the same time. One that is larger,
does not say its size, or is none ends that: `over`. Whoever wants all of the stream decompresses
the `rest` and what follows as a whole, which also tells what is wrong with it.

Source: https://www.rfc-editor.org/rfc/rfc8878#section-3.1
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import zstandard

from forensics_core.storage.objects import Buffer

_SKIPPABLE, _SKIPPABLE_MASK = 0x184D2A50, 0xFFFFFFF0
_SKIPPABLE_HEADER, _LONGEST_HEADER, _BLOCK_HEADER, _CHECKSUM = 8, 18, 3, 4
_RUN = 1
"""The type of a block that is stored as one byte, however long it is."""


class WholeFrame(NamedTuple):
    """One frame as it is stored."""

    stored: Buffer
    size: int
    """Bytes that it says it holds."""


class FrameSplitter:
    """A stream that is cut into its frames; skippable ones are passed over.

    Besides what `feed` is given it holds one frame that is not whole yet.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self.over = False
        """Whether something came that is no frame of at most `largest` bytes."""
        self._held: list[memoryview] = []
        self._have = 0
        self._skip = 0
        self._at = 0
        """Where in the first frame its next block begins; 0: its own header comes first."""
        self._last = False
        self._size = self._checksum = 0

    def feed(self, block: Buffer) -> Iterator[WholeFrame]:
        """Take the next bytes, and yield the frames that are whole by now."""
        self._held.append(memoryview(block))
        self._have += len(block)
        self._drop()
        while not self.over:
            if length := self._measure():
                yield WholeFrame(self._cut(length), self._size)
            elif self._skip and self._have:
                self._drop()
            else:
                return

    def rest(self) -> Buffer:
        """Return what came and was in no frame, once it is `over` or nothing follows."""
        return self._cut(self._have)

    def _measure(self) -> int:
        """Return the length of the first frame; 0 while it is not whole, or is not to be had."""
        if not self._at and not self._begin():
            return 0
        while not self._last and len(header := self._peek(self._at, _BLOCK_HEADER)) == 3:
            told = int.from_bytes(header, "little")
            self._last = bool(told & 1)
            self._at += _BLOCK_HEADER + (1 if told >> 1 & 3 == _RUN else told >> 3)
        # What cannot be compressed grows by three bytes in 128 KiB.
        self.over = self._at > self._largest + self._largest // 64
        length = self._at + self._checksum
        return length if self._last and self._have >= length and not self.over else 0

    def _begin(self) -> bool:
        """Read the first frame's header; return whether it is one to be cut out."""
        header = self._peek(0, _LONGEST_HEADER)
        magic = int.from_bytes(header[:4], "little")
        if magic & _SKIPPABLE_MASK == _SKIPPABLE:
            if len(header) >= _SKIPPABLE_HEADER:
                self._skip = _SKIPPABLE_HEADER + int.from_bytes(header[4:8], "little")
            return False
        try:
            told = zstandard.get_frame_parameters(header)
        except zstandard.ZstdError:
            self.over = len(header) == _LONGEST_HEADER
            return False
        if told.content_size > self._largest or told.dict_id:
            self.over = True
            return False
        self._at, self._last = zstandard.frame_header_size(header), False
        self._size, self._checksum = told.content_size, _CHECKSUM * told.has_checksum
        return True

    def _drop(self) -> None:
        """Forget what is there of a skippable frame."""
        dropped = min(self._skip, self._have)
        self._skip -= dropped
        self._take(dropped)

    def _cut(self, length: int) -> Buffer:
        pieces = self._take(length)
        self._at = 0
        # Most frames lie within one block, and are not copied.
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _take(self, length: int) -> list[memoryview]:
        taken = list[memoryview]()
        self._have -= length
        while length:
            piece = self._held[0]
            taken.append(piece[:length])
            if length < len(piece):
                self._held[0] = piece[length:]
                break
            length -= len(self._held.pop(0))
        return taken

    def _peek(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start` on, or as many as there are."""
        found = b""
        for piece in self._held:
            if start < len(piece):
                found += piece[start : start + size - len(found)]
            start = max(start - len(piece), 0)
            if len(found) == size:
                break
        return found
