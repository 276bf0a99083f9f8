"""Each line of a memory map is of one sort, and what is taken of it follows from that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.memory.mappings import MAX_MAPPINGS, Mapping, MappingKind, mappings
from collector.memory.pages import PageRun
from collector.memory.regions import FILL, CorePiece, PieceSource, modified, overlaid
from collector.node.procfs import Process

PAGE = 4096


def parsed(folder: Path, text: bytes) -> tuple[list[Mapping], int]:
    (folder / "maps").write_bytes(text)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        found = mappings(Process(1, descriptor))
    finally:
        os.close(descriptor)
    return found.rows, found.more


@pytest.mark.parametrize(
    ("line", "sort"),
    [
        (b"rw-p 00000000 00:00 0", MappingKind.PRIVATE),
        (b"rw-p 00000000 00:00 0          [heap]", MappingKind.PRIVATE),
        (b"rw-p 00000000 00:00 0          [anon: evil]", MappingKind.PRIVATE),
        (b"rw-s 00000000 00:01 7          [anon_shmem:name]", MappingKind.NAMELESS),
        (b"rw-p 00000000 00:05 7          /dev/zero", MappingKind.PRIVATE),
        (b"rw-s 00000000 00:01 7          /dev/zero (deleted)", MappingKind.NAMELESS),
        (b"r-xp 00000000 08:01 7          /bin/sh", MappingKind.MODIFIED),
        (b"rw-s 00000000 08:01 7          /data", MappingKind.SHARED),
        (b"rw-s 00000000 00:14 7          /dev/shm/pool", MappingKind.SHARED),
        (b"rw-s 00000000 00:14 7          /dev/shm/pool (deleted)", MappingKind.NAMELESS),
        (b"rw-s 00000000 00:01 7          /SYSV00000000 (deleted)", MappingKind.NAMELESS),
        (b"r-xp 00000000 00:01 7          /memfd:x (deleted)", MappingKind.NAMELESS),
        (b"rw-s 00000000 00:05 7          /dev/dri/card0", MappingKind.DEVICE),
        (b"rw-s 00000000 00:0e 7          anon_inode:[io_uring]", MappingKind.DEVICE),
        (b"rw-s 00000000 00:0e 7          socket:[12]", MappingKind.DEVICE),
        (b"r--p 00000000 00:00 0          [vvar]", MappingKind.KERNEL),
        (b"--xp 00000000 00:00 0          [vsyscall]", MappingKind.KERNEL),
        (b"r-xp 00000000 00:00 0          [vdso]", MappingKind.PRIVATE),
    ],
)
def test_of_what_sort_a_mapping_is(tmp_path: Path, line: bytes, sort: MappingKind) -> None:
    (row,), _ = parsed(tmp_path, b"7f0000000000-7f0000002000 " + line + b"\n")
    assert (row.sort, row.size, row.start) == (sort, 2 * PAGE, 0x7F0000000000)


def test_flags_offset_and_any_path(tmp_path: Path) -> None:
    (row,), _ = parsed(tmp_path, b"1000-3000 r-xs 00002000 08:01 7    /a b\xff\\012c\n")
    assert (row.flags, row.shared, row.offset, row.inode) == (5, True, 0x2000, 7)
    assert row.path == b"/a b\xff\\012c" and row.place == "map_files/1000-3000"


def test_more_mappings_than_are_looked_at(tmp_path: Path) -> None:
    line = b"1000-2000 rw-p 00000000 00:00 0\n"
    rows, more = parsed(tmp_path, line * (MAX_MAPPINGS + 7) + b"nonsense\n")
    assert (len(rows), more) == (MAX_MAPPINGS, 8)


def test_a_line_that_makes_no_sense_is_counted(tmp_path: Path) -> None:
    assert parsed(tmp_path, b"nonsense\n") == ([], 1)


MAPPED = Mapping(0x100000, 0x900000, 5, False, 0, b"08:01", 7, b"/lib")


def run(first: int, last: int, of_file: bool) -> PageRun:
    return PageRun(MAPPED.start + first * PAGE, MAPPED.start + last * PAGE, of_file)


def spans(runs: Iterator[PageRun], mapping: Mapping = MAPPED) -> list[tuple[int, int]]:
    return [
        ((each.start - mapping.start) // PAGE, (each.end - mapping.start) // PAGE) for each in runs
    ]


def test_of_a_file_the_first_page_and_what_was_written() -> None:
    runs = [run(0, 9, True), run(20, 21, False), run(30, 40, True), run(50, 52, False)]
    assert spans(modified(MAPPED, runs)) == [(0, 1), (20, 21), (50, 52)]
    later = MAPPED._replace(offset=PAGE)
    assert spans(modified(later, runs)) == [(20, 21), (50, 52)]


def test_few_pages_between_written_ones_are_taken_too() -> None:
    few = FILL // PAGE
    runs = [run(0, 1, False), run(1, 1 + few, True), run(1 + few, 2 + few, False)]
    assert spans(modified(MAPPED, runs)) == [(0, 1), (1, 1 + few), (1 + few, 2 + few)]
    many = [run(0, 1, False), run(1, 2 + few, True), run(2 + few, 3 + few, False)]
    assert spans(modified(MAPPED, many)) == [(0, 1), (2 + few, 3 + few)]
    beside = [run(0, 2, True), run(2, 3, False)]
    assert spans(modified(MAPPED, beside)) == [(0, 1), (1, 2), (2, 3)]


def test_pages_that_a_process_changed_cover_those_of_the_file() -> None:
    memory, file = PieceSource.MEMORY, PieceSource.FILE
    runs = [
        PageRun(0, 1, False),
        PageRun(3, 5, False),
        PageRun(8, 9, False),
        PageRun(20, 21, False),
    ]
    assert [*overlaid([(2, 4), (6, 10)], iter(runs))] == [
        CorePiece(0, 1, memory),
        CorePiece(2, 3, file),
        CorePiece(3, 5, memory),
        CorePiece(6, 8, file),
        CorePiece(8, 9, memory),
        CorePiece(9, 10, file),
        CorePiece(20, 21, memory),
    ]
    assert [*overlaid([], iter(runs[:1]))] == [CorePiece(0, 1, memory)]
