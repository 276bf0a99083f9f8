"""Cores of processes that change, end or hide while they are read."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from collector.memory.core import Core, forget, prepared
from collector.memory.elf import PAGE
from collector.memory.mappings import MappingKind
from collector.memory.pages import Pages
from collector.memory.regions import CorePlan
from collector.node.procfs import Process
from collector.runtimes.runtime import Unavailable
from tests.unit.collector.memory.subjects import Subject, subject

LIMIT = 1 << 30


@contextmanager
def core_of(process: Subject, limit: int = LIMIT) -> Iterator[Core]:
    with Process.open(process.pid) as found, prepared(found, [], limit, {}) as core:
        yield core


def read(core: Core, block: int = 1 << 20) -> bytes:
    out, room = bytearray(core.head), memoryview(bytearray(block))
    while size := core.reader.fill(room):
        out += room[:size]
    return bytes(out)


def at(data: bytes, address: int, size: int) -> bytes:
    """Return what a core has at an address."""
    for segment in ELFFile(io.BytesIO(data)).iter_segments("PT_LOAD"):
        header = segment.header
        offset = address - header.p_vaddr
        if 0 <= offset < header.p_memsz:
            stored = data[header.p_offset + offset : header.p_offset + header.p_filesz]
            return stored[:size].ljust(size, b"\0")
    raise AssertionError(f"{address:#x} is in no segment")


@pytest.mark.parametrize("block", [PAGE, 3 * PAGE, 4 << 20])
def test_pages_and_holes_are_where_they_were(block: int) -> None:
    script = """
place = anonymous(1 << 30)
LIBC.madvise(place, 1 << 30, 15)
for each in (0, 3, 4, 100, 200000):
    fill(place + each * PAGE, b"page%d" % each)
tell(place)
"""
    with subject(script) as process, core_of(process) as core:
        (place,) = process.numbers
        data = read(core, block)
    assert core.reader.done == core.plan.size and not core.reader.unreadable
    for each in (0, 3, 4, 100, 200000):
        word = b"page%d" % each
        assert at(data, place + each * PAGE, len(word) + 1) == word + b"\0"
    for hole in (1, 50, 199999, 262143):
        assert at(data, place + hole * PAGE, 8) == bytes(8)


def test_what_is_unmapped_before_it_is_read_is_zeros() -> None:
    script = """
place = anonymous(4 * PAGE)
fill(place, b"x" * 4 * PAGE)
tell(place)
hear()
LIBC.munmap(place + PAGE, 2 * PAGE)
tell(1)
"""
    with subject(script) as process, core_of(process) as core:
        (place,) = process.numbers
        assert process.go_on() == [1]
        data = read(core)
    assert at(data, place, 4 * PAGE) == b"x" * PAGE + bytes(2 * PAGE) + b"x" * PAGE
    assert (core.reader.unreadable, core.reader.first) == (2 * PAGE, place + PAGE)
    assert core.reader.done == core.plan.size


def test_a_process_that_ends_before_it_is_read() -> None:
    with subject("tell(anonymous(PAGE))") as process, core_of(process) as core:
        process.process.kill()
        process.process.wait()
        data = read(core)
    assert core.reader.gone and core.reader.done == 0 < core.plan.size
    assert data == core.head


def test_a_process_that_has_ended_has_no_memory() -> None:
    with subject("tell(1)") as process:
        process.process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(ProcessLookupError), core_of(process):
            pass


def test_a_limit_cuts_the_largest() -> None:
    script = """
small, large = anonymous(2 * PAGE), anonymous(256 << 20)
LIBC.mprotect(large, PAGE, 1)
fill(small, b"small"); fill(large + (1 << 20), b"x" * (255 << 20))
tell(small, large)
"""
    with subject(script) as process, core_of(process, 64 << 20) as core:
        small, _ = process.numbers
        data = read(core)
    assert core.plan.size <= 64 << 20 and core.plan.cut > 150 << 20
    assert at(data, small, 5) == b"small"


def test_a_limit_within_a_page_is_rounded_down() -> None:
    with subject("tell(1)") as process, core_of(process, PAGE + 1) as core:
        assert core.plan.size == PAGE and len(read(core)) == len(core.head) + PAGE


def test_a_deleted_file_is_there_though_nobody_touched_it() -> None:
    script = """
file = os.memfd_create("library")
os.ftruncate(file, 1 << 30)
os.pwrite(file, b"untouched", 512 << 20)
os.pwrite(file, b"end", (1 << 30) - 3)
place = LIBC.mmap(None, 1 << 30, 3, 2, file, 0)
fill(place + 7 * PAGE, b"own")
tell(place)
"""
    with subject(script) as process, core_of(process) as core:
        (place,) = process.numbers
        data = read(core)
    assert at(data, place + (512 << 20), 9) == b"untouched"
    assert at(data, place + (1 << 30) - 3, 3) == b"end"
    assert at(data, place + 7 * PAGE, 3) == b"own"
    assert len(data) < 256 << 20


def test_files_that_end_within_a_page_or_before_the_mapping() -> None:
    script = """
file = os.memfd_create("short")
os.write(file, b"begin" + b"." * PAGE)
place = LIBC.mmap(None, 64 * PAGE, 3, 1, file, 0)
tell(place)
"""
    with subject(script) as process, core_of(process) as core:
        (place,) = process.numbers
        data = read(core)
    assert at(data, place, 5) == b"begin" and at(data, place + PAGE, 6) == b"....." + b"\0"
    assert not core.reader.unreadable


def test_a_file_that_is_unmapped_before_it_is_read_is_zeros() -> None:
    script = """
file = os.memfd_create("file")
os.write(file, b"x" * PAGE)
place = LIBC.mmap(None, PAGE, 3, 1, file, 0)
tell(place)
hear()
LIBC.munmap(place, PAGE)
tell(1)
"""
    with subject(script) as process, core_of(process) as core:
        assert process.go_on() == [1]
        read(core)
    assert core.reader.unreadable == PAGE


def test_devices_and_the_kernels_pages_are_left_out() -> None:
    with subject("tell(1)") as process, core_of(process) as core:
        omitted = {row.path: row.size for row in core.rows if row.sort is MappingKind.KERNEL}
    assert core.omitted["kernel"] == sum(omitted.values()) > 0


def test_a_machine_whose_registers_are_not_known() -> None:
    with subject("tell(1)") as process, Process.open(process.pid) as found:
        preparing = prepared(found, [], LIMIT, {}, "riscv64")
        with pytest.raises(Unavailable, match="riscv64"):
            preparing.__enter__()


class LeavingMemory(dict[Any, int]):
    """Shared memory at whose planning something happens to the process."""

    def __init__(self, happens: Callable[[], object]) -> None:
        super().__init__()
        self._happens = happens

    def setdefault(self, key: Any, default: Any = None) -> Any:
        self._happens()
        return super().setdefault(key, default)


def test_a_process_that_becomes_another_program_while_its_core_is_planned_is_gone() -> None:
    script = """
file = os.memfd_create("shared")
os.ftruncate(file, 2 << 20)
tell(LIBC.mmap(None, 2 << 20, 3, 1, file, 0))
hear()
os.execv(sys.executable, [sys.executable, "-c", "print(7, flush=True); input()"])
"""
    with subject(script) as process, Process.open(process.pid) as found:
        shared, older = LeavingMemory(process.go_on), partial(Pages, scan=False)
        with prepared(found, [], LIMIT, shared, page_map=older) as core:
            assert core.reader.gone and read(core) == core.head


def test_shared_memory_of_a_core_that_failed_is_free_for_others() -> None:
    shared = {(b"0:1", 7, 0, 4096): 3, (b"0:1", 8, 0, 4096): 4}
    forget(shared, 3)
    assert shared == {(b"0:1", 8, 0, 4096): 4}


def test_threads_that_are_not_named_have_no_registers() -> None:
    script = """
for _ in range(3):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
tell(1)
"""
    with (
        subject(script) as process,
        Process.open(process.pid) as found,
        prepared(found, [], LIMIT, {}, most=2) as core,
    ):
        assert (core.threads, core.bare) == (2, 4)


def test_bytes_of_segments_past_the_limit_are_counted_as_cut() -> None:
    plan = CorePlan(LIMIT, size=3 * PAGE, most=1)
    plan.segment(0, PAGE, PAGE, 4)
    plan.segment(8 * PAGE, 2 * PAGE, 2 * PAGE, 4)
    assert (len(plan.sorted_segments()), plan.cut) == (1, 2 * PAGE)
