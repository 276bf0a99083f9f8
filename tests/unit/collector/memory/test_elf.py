"""Cores of any shape are read back as they were written, by a reader that is not ours."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment
from hypothesis import given
from hypothesis import strategies as st

from collector.memory import elf
from collector.memory.elf import PAGE, Info, ProcessGroup, Segment, Thread

MACHINE = elf.MACHINES["x86_64"]
FAMILY = ProcessGroup(1, 2, 3)
INFO = Info(7, FAMILY, "S", -5, 1000, 1001, b"server", b"server --port 80")


def segments_of(core: bytes) -> list[dict[str, int]]:
    return [dict(each.header) for each in ELFFile(io.BytesIO(core)).iter_segments("PT_LOAD")]


def notes_of(core: bytes) -> list[Any]:
    (segment,) = ELFFile(io.BytesIO(core)).iter_segments("PT_NOTE")
    assert isinstance(segment, NoteSegment)
    return [*segment.iter_notes()]


SEGMENT = st.builds(
    lambda start, stored, more, flags: Segment(
        start * PAGE, stored * PAGE, (stored + more) * PAGE, flags, 0
    ),
    *(st.integers(0, 2**47 // PAGE), st.integers(0, 9), st.integers(0, 2**30)),
    st.integers(0, 7),
)


@given(st.lists(SEGMENT, max_size=20), st.binary(max_size=3 * PAGE))
def test_segments_come_back_at_pages(segments: list[Segment], body: bytes) -> None:
    core = elf.head(MACHINE, segments, elf.auxv_note(body))
    assert len(core) % PAGE == 0
    read = segments_of(core)
    assert [
        (each["p_vaddr"], each["p_filesz"], each["p_memsz"], each["p_flags"]) for each in read
    ] == [(each.start, each.stored, each.size, each.flags) for each in segments]
    assert all(each["p_offset"] == len(core) for each in read)


@pytest.mark.parametrize("count", [0xFFFD, 0xFFFE, 0xFFFF, 70_000])
def test_more_segments_than_the_header_can_count(count: int) -> None:
    rows = [Segment(at * PAGE, 0, PAGE, elf.READ, 0) for at in range(count)]
    core = ELFFile(io.BytesIO(elf.head(MACHINE, rows, elf.auxv_note(b""))))
    assert core.num_segments() == count + 1
    assert core.get_segment(count).header.p_vaddr == (count - 1) * PAGE


@pytest.mark.parametrize("name", [*elf.MACHINES])
def test_a_thread_has_its_registers_in_its_notes(name: str) -> None:
    machine = elf.MACHINES[name]
    general = bytes(range(200)).ljust(machine.registers, b"\7")
    notes = elf.thread_notes(machine, Thread(4711, general, b"f" * 512), FAMILY)
    status, floating = notes_of(elf.head(machine, [], notes))
    assert (status["n_type"], floating["n_type"]) == ("NT_PRSTATUS", "NT_FPREGSET")
    body = status["n_descdata"]
    assert isinstance(body, bytes)
    assert struct.unpack_from("<4i", body, 32) == (4711, *FAMILY)
    assert body[112 : 112 + machine.registers] == general
    assert len(body) == 112 + machine.registers + 8 and body[-8] == 1


def test_a_thread_without_floating_registers_says_so() -> None:
    (status,) = notes_of(elf.head(MACHINE, [], elf.thread_notes(MACHINE, Thread(1), FAMILY)))
    body = status["n_descdata"]
    assert isinstance(body, bytes) and body[-8] == 0


def test_pointers_are_where_the_machine_has_them() -> None:
    words = struct.unpack("<27Q", elf.pointers(MACHINE, 0x1234, 0x5678))
    assert (words[16], words[19], sum(words)) == (0x1234, 0x5678, 0x1234 + 0x5678)


def test_what_is_known_of_the_process_comes_back() -> None:
    (read,) = notes_of(elf.head(MACHINE, [], elf.info_note(INFO)))
    body = read["n_desc"]
    assert body.pr_pid == 7 and body.pr_ppid == 1
    assert body.pr_fname.rstrip(b"\0") == b"server"
    assert body.pr_psargs.rstrip(b"\0") == b"server --port 80"


def test_mapped_files_come_back_with_any_name() -> None:
    files = [(PAGE, 3 * PAGE, 2 * PAGE, b"/bin/\xff"), (8 * PAGE, 9 * PAGE, 0, b"/lib (deleted)")]
    body, left = elf.file_note(files)
    (read,) = notes_of(elf.head(MACHINE, [], body))
    table = read["n_desc"]
    assert left == 0
    assert [*table.filename] == [b"/bin/\xff", b"/lib (deleted)"]
    rows = [(row.vm_start, row.vm_end, row.page_offset) for row in table.Elf_Nt_File_Entry]
    assert rows == [(PAGE, 3 * PAGE, 2), (8 * PAGE, 9 * PAGE, 0)]


def test_the_table_of_files_is_bounded() -> None:
    body, left = elf.file_note((PAGE, PAGE, 0, b"x" * 4000) for _ in range(2000))
    assert len(body) < elf.MAX_FILES + 100 and 900 < left < 1000
