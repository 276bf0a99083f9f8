"""Only pages that hold something are found, by either way that kernels tell of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from collector.memory.elf import PAGE
from collector.memory.pages import PageRun, Pages, TooSparse
from tests.unit.collector.memory.subjects import Subject, subject

pytestmark = pytest.mark.parametrize("scan", [True, False])


@contextmanager
def page_map(process: Subject, scan: bool, left: int = 1 << 30) -> Iterator[Pages]:
    descriptor = os.open(f"/proc/{process.pid}/pagemap", os.O_RDONLY)
    try:
        yield Pages(descriptor, scan=scan, left=left)
    finally:
        os.close(descriptor)


def test_holes_are_passed_over(scan: bool) -> None:
    script = """
place = anonymous(64 << 20)
LIBC.madvise(place, 64 << 20, 15)  # no huge pages
for at in (0, 1, 5, 16383):
    fill(place + at * PAGE, b"x")
tell(place)
"""
    with subject(script) as process, page_map(process, scan) as pages:
        (place,) = process.numbers
        found = [*pages.runs(place, place + (64 << 20))]
    assert found == [
        PageRun(place + first * PAGE, place + last * PAGE, False)
        for first, last in ((0, 2), (5, 6), (16383, 16384))
    ]


def test_guard_pages_hold_nothing(scan: bool) -> None:
    script = """
place = anonymous(4 * PAGE)
fill(place, b"x")
LIBC.madvise(place + PAGE, 2 * PAGE, 102)
tell(place)
"""
    with subject(script) as process, page_map(process, scan) as pages:
        (place,) = process.numbers
        assert [*pages.runs(place, place + 4 * PAGE)] == [PageRun(place, place + PAGE, False)]


def test_pages_of_a_file_are_told_from_those_that_were_written(scan: bool) -> None:
    script = """
file = os.memfd_create("file")
os.pwrite(file, b"y" * 3 * PAGE, 0)
place = LIBC.mmap(None, 3 * PAGE, 3, 2, file, 0)
ctypes.string_at(place, 3 * PAGE)
fill(place + PAGE, b"x")
tell(place)
"""
    with subject(script) as process, page_map(process, scan) as pages:
        (place,) = process.numbers
        found = [*pages.runs(place, place + 3 * PAGE)]
    assert found == [
        PageRun(place + at * PAGE, place + (at + 1) * PAGE, of_file)
        for at, of_file in enumerate((True, False, True))
    ]


def test_more_ranges_than_one_answer_holds(scan: bool) -> None:
    script = """
place = anonymous(6000 * PAGE)
LIBC.madvise(place, 6000 * PAGE, 15)
for at in range(0, 6000, 2):
    fill(place + at * PAGE, b"x")
tell(place)
"""
    with subject(script) as process, page_map(process, scan) as pages:
        (place,) = process.numbers
        found = [*pages.runs(place, place + 6000 * PAGE)]
    assert [run.start for run in found] == [place + at * PAGE for at in range(0, 6000, 2)]


def test_a_huge_part_is_refused_where_pages_are_read_one_by_one(scan: bool) -> None:
    with subject(
        "place = anonymous(4 << 40)\nfill(place + (2 << 40), b'x')\ntell(place)"
    ) as process:
        (place,) = process.numbers
        with page_map(process, scan, left=1 << 20) as pages:
            if scan:
                (run,) = pages.runs(place, place + (4 << 40))
                assert run.start == place + (2 << 40)
            else:
                with pytest.raises(TooSparse):
                    [*pages.runs(place, place + (4 << 40))]


def test_a_process_that_has_ended_has_no_pages(scan: bool) -> None:
    with subject("place = anonymous(4 * PAGE)\nfill(place, b'x')\ntell(place)") as process:
        (place,) = process.numbers
        with page_map(process, scan) as pages:
            process.process.kill()
            process.process.wait()
            found: list[PageRun] = []
            with suppress(ProcessLookupError):
                found = [*pages.runs(place, place + 4 * PAGE)]
    assert found == []
