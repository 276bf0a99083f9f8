"""The bytes of a planned core, read from `/proc/PID/mem` in blocks.

It blocks, and is meant for a thread that nobody has to wait for::

    reader = Reader(process, memory, plan)
    size = reader.fill(block)      # 0 at the end

What cannot be read is zeros and counted. Once the process is gone, so is its memory: then it ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from collector.memory.elf import PAGE
from collector.memory.mappings import Mapping
from collector.memory.regions import CorePiece, CorePlan, PieceSource
from collector.node.abandonable import raise_if_abandoned
from collector.node.procfs import Process

STEP = 1024 * 1024
"""Bytes that are read at once."""
_ZEROS = bytes(STEP)


@dataclass(slots=True)
class CoreReader:
    """The reading of one core."""

    process: Process
    memory: int
    """A descriptor of its memory."""
    plan: CorePlan
    done: int = 0
    """Bytes so far."""
    unreadable: int = 0
    """Bytes of them that are zeros because they could not be read."""
    gone: bool = False
    """Whether the process ended, or began another program, before the end."""
    first: int | None = None
    """The first address that could not be read."""
    _pieces: Iterator[tuple[CorePiece, Mapping]] = field(init=False)
    _piece: tuple[CorePiece, Mapping] | None = None
    _file: tuple[Mapping, int] | None = None

    def __post_init__(self) -> None:
        self._pieces = self.plan.pieces()

    def fill(self, block: memoryview) -> int:
        """Fill `block` from its beginning; return how many bytes that are."""
        filled = 0
        while filled < len(block) and not self.gone:
            raise_if_abandoned()
            self._piece = self._piece or next(self._pieces, None)
            if self._piece is None:
                break
            piece, mapping = self._piece
            part = block[filled : filled + min(piece.end - piece.start, STEP)]
            size = self._read(piece, mapping, part)
            start = piece.start + size
            self._piece = (piece._replace(start=start), mapping) if start < piece.end else None
            filled += size
        self.done += filled
        return filled

    def close(self) -> None:
        """Close what was opened."""
        if self._file and self._file[1] >= 0:
            os.close(self._file[1])
        self._file = None

    def _read(self, piece: CorePiece, mapping: Mapping, part: memoryview) -> int:
        """Read the beginning of a piece; return how much, which is 0 only at the end of all."""
        if piece.source is PieceSource.ZEROS:
            part[:] = _ZEROS[: len(part)]
            return len(part)
        try:
            if piece.source is PieceSource.FILE:
                return self._from_file(piece, mapping, part)
            size = os.preadv(self.memory, [part], piece.start)
        except OSError:
            return self._skip(piece, part)
        # Of an address space that is gone `mem` reads nothing, and calls it no error.
        self.gone = not size
        return size

    def _from_file(self, piece: CorePiece, mapping: Mapping, part: memoryview) -> int:
        """Read what lies in a file; its last page ends in zeros, as when it is mapped."""
        if self._file is None or self._file[0] is not mapping:
            self.close()
            self._file = mapping, self._open(mapping)
        if self._file[1] < 0:
            return self._skip(piece, part)
        offset = mapping.offset + piece.start - mapping.start
        size = os.preadv(self._file[1], [part], offset)
        if size < len(part):
            part[size:] = _ZEROS[: len(part) - size]
        return len(part)

    def _open(self, mapping: Mapping) -> int:
        with suppress(OSError):
            return os.open(mapping.place, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.process.folder)
        return -1

    def _skip(self, piece: CorePiece, part: memoryview) -> int:
        """Have zeros for a page that cannot be read."""
        size = min(len(part), PAGE - piece.start % PAGE)
        part[:size] = _ZEROS[:size]
        self.unreadable += size
        self.first = piece.start if self.first is None else self.first
        return size
