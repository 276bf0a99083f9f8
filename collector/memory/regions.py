"""What of a process's address space is stored in its core, decided before a byte of it is read.

::

    plan = Plan(limit=4 * 1024**3)
    plan.add(process, mapping, pages)     # the smallest mappings first
    plan.sorted_segments()

Taken are the pages that hold something: of private memory, of files without a name, and of private
mappings of files what was written there. `PROT_NONE` and `MADV_DONTDUMP` change nothing: both are
how memory is hidden. The other pages are zeros, or are as in the file, which `memory.json` names.
"""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from collector.files.safe_open import opened
from collector.memory.elf import PAGE, Segment
from collector.memory.mappings import Mapping, MappingKind
from collector.memory.pages import PageRun, Pages, TooSparse
from collector.node.abandonable import raise_if_abandoned
from collector.node.procfs import Process

FILL = 64 * 1024
"""Bytes of a hole that are stored as zeros, rather than begin another segment."""
MAX_SEGMENTS = 131_072
MAX_PIECES = 1_048_576
_FIELDS = len(Segment._fields)


class PieceSource(IntEnum):
    """Where the bytes of a piece come from."""

    MEMORY = 0
    ZEROS = 1
    FILE = 2
    """The file that is mapped there: what nobody touched yet is not in the process's memory."""


class CorePiece(NamedTuple):
    """Bytes in a row, of one source."""

    start: int
    end: int
    source: PieceSource


@dataclass(slots=True)
class CorePlan:
    """A core to be: its segments, and in the same order the pieces that their bytes come from."""

    limit: int
    """Bytes that may be stored."""
    size: int = 0
    """Bytes that will be."""
    cut: int = 0
    """Bytes that would have been, but for the limits; those that are known."""
    sparse: int = 0
    """Mappings of which it is not known where they hold anything."""
    most: int = MAX_SEGMENTS
    """Segments."""
    _segments: array[int] = field(default_factory=lambda: array("Q"))
    _pieces: array[int] = field(default_factory=lambda: array("Q"))
    _mappings: list[Mapping] = field(default_factory=list)
    """Those that pieces are of."""

    def add(self, process: Process, mapping: Mapping, pages: Pages) -> int:
        """Plan one mapping; return how many bytes of it will be stored. Raises `OSError`."""
        before, whole = self.size, mapping.sort is not MappingKind.MODIFIED
        at = _Mapped(self, mapping, zeros=whole)
        try:
            for piece in pieces(process, mapping, pages):
                if not at.take(piece):
                    break
        except TooSparse:
            self.sparse += 1
        at.close(mapping.end)
        return self.size - before

    def omit(self, mapping: Mapping) -> None:
        """Have a segment of a mapping of which nothing is stored."""
        self.segment(mapping.start, 0, mapping.size, mapping.flags)

    def segment(self, start: int, stored: int, size: int, flags: int) -> None:
        """Add a segment, whose bytes are the last ones so far."""
        if size and len(self._segments) < self.most * _FIELDS:
            self._segments.extend((start, stored, size, flags, self.size - stored))
        elif size:
            self.cut += stored  # nothing says where these bytes were

    @property
    def full(self) -> bool:
        """Whether nothing more can be stored."""
        return (
            self.size >= self.limit
            or len(self._segments) >= self.most * _FIELDS
            or len(self._pieces) >= MAX_PIECES * 3
        )

    def piece(self, piece: CorePiece, mapping: Mapping) -> None:
        """Add a piece; it has been counted."""
        if not self._mappings or self._mappings[-1] is not mapping:
            self._mappings.append(mapping)
        code = (len(self._mappings) - 1) * 4 + piece.source
        self._pieces.extend((piece.start, piece.end, code))
        self.size += piece.end - piece.start

    def pieces(self) -> Iterator[tuple[CorePiece, Mapping]]:
        """Yield the pieces, in the order of the file."""
        for at in range(0, len(self._pieces), 3):
            start, end, code = self._pieces[at : at + 3]
            yield CorePiece(start, end, PieceSource(code % 4)), self._mappings[code // 4]

    def sorted_segments(self) -> list[Segment]:
        """Return the segments in order of address."""
        rows = range(0, len(self._segments), _FIELDS)
        order = sorted(rows, key=lambda at: self._segments[at])
        return [Segment(*self._segments[at : at + _FIELDS]) for at in order]


class _Mapped:
    """One mapping on its way into a plan."""

    def __init__(self, plan: CorePlan, mapping: Mapping, *, zeros: bool) -> None:
        self._plan, self._mapping = plan, mapping
        self._zeros = zeros
        """Whether what is between pieces is zeros."""
        self._start = self._end = mapping.start
        """Of the segment that is open; before the first piece it is empty."""

    def take(self, piece: CorePiece) -> bool:
        """Add a piece, or what there is room for; return whether there may be room for more."""
        plan, gap = self._plan, piece.start - self._end
        if plan.full:
            plan.cut += piece.end - piece.start
            return False
        joins = gap == 0 or (self._zeros and self._end > self._start and gap <= FILL)
        if not joins:
            self.close(piece.start)
            self._start = self._end = piece.start
        elif gap:
            plan.piece(CorePiece(self._end, piece.start, PieceSource.ZEROS), self._mapping)
        room = max(plan.limit - plan.size, 0) // PAGE * PAGE
        end = min(piece.end, piece.start + room)
        plan.cut += piece.end - end
        plan.piece(piece._replace(end=end), self._mapping)
        self._end = end
        return end == piece.end

    def close(self, until: int) -> None:
        """End the open segment where the next one begins; what is between is no part of a piece."""
        stored, flags = self._end - self._start, self._mapping.flags
        if self._zeros:
            self._plan.segment(self._start, stored, until - self._start, flags)
        else:
            self._plan.segment(self._start, stored, stored, flags)
            self._plan.segment(self._end, 0, until - self._end, flags)


def pieces(process: Process, mapping: Mapping, pages: Pages) -> Iterator[CorePiece]:
    """Yield what a core holds of a mapping, in order. Raises `OSError`, `TooSparse`."""
    runs = pages.runs(mapping.start, mapping.end)
    match mapping.sort:
        case MappingKind.PRIVATE:
            return (_of_memory(run) for run in runs)
        case MappingKind.MODIFIED:
            return (_of_memory(run) for run in modified(mapping, runs))
        case MappingKind.NAMELESS:
            return _anonymous(process, mapping, runs)
        case _:
            return iter(())


def _of_memory(run: PageRun) -> CorePiece:
    return CorePiece(run.start, run.end, PieceSource.MEMORY)


def modified(mapping: Mapping, runs: Iterable[PageRun]) -> Iterator[PageRun]:
    """Yield what was written, what little lies between, and the first page of a file.

    By that page debuggers know which file it is.
    """
    end, between = 0, None
    for run in runs:
        if not run.of_file:
            if between and (between.start, between.end) == (end, run.start):
                yield between
            yield run
            end, between = run.end, None
        elif run.start == mapping.start and not mapping.offset:
            end = run.start + PAGE
            yield run._replace(end=end)
            between = _small(run._replace(start=end))
        else:
            between = _small(run)


def _small(run: PageRun) -> PageRun | None:
    return run if 0 < run.end - run.start <= FILL else None


def _anonymous(process: Process, mapping: Mapping, runs: Iterator[PageRun]) -> Iterator[CorePiece]:
    try:
        file = os.open(mapping.place, os.O_RDONLY | os.O_CLOEXEC, dir_fd=process.folder)
    except OSError:
        # Without the file there is what the process has touched of it.
        yield from (_of_memory(run) for run in runs)
        return
    with opened(file):
        own = (run for run in runs if not run.of_file)
        yield from overlaid(file_data(file, mapping), own)


def file_data(file: int, mapping: Mapping) -> Iterator[tuple[int, int]]:
    """Yield where in the address space a file has bytes, rounded to pages."""
    offset, limit = mapping.offset, mapping.offset + mapping.size
    shift = mapping.start - offset
    limit = min(limit, -(-os.fstat(file).st_size // PAGE) * PAGE)
    while offset < limit:
        raise_if_abandoned()
        try:
            start = max(os.lseek(file, offset, os.SEEK_DATA) // PAGE * PAGE, offset)
            end = os.lseek(file, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            start, end = offset, limit  # no seeking for holes: it has none
        end = min(-(-end // PAGE) * PAGE, limit)
        if start >= limit:
            return
        yield start + shift, end + shift
        offset = max(end, offset + PAGE)


def overlaid(data: Iterable[tuple[int, int]], runs: Iterator[PageRun]) -> Iterator[CorePiece]:
    """Yield a file's bytes, but for the pages that the process has changed for itself."""
    run = next(runs, None)
    for start, end in data:
        while run and run.start < end:
            if start < run.start:
                yield CorePiece(start, run.start, PieceSource.FILE)
            yield _of_memory(run)
            start, run = max(start, run.end), next(runs, None)
        if start < end:
            yield CorePiece(start, end, PieceSource.FILE)
    while run:
        yield _of_memory(run)
        run = next(runs, None)
