"""The format of an ELF core, as gdb, readelf and pyelftools read it.

::

    data = head(machine, segments, notes)   # all that comes before the memory's own bytes

64 bits and little-endian only, as the machines are that the collector runs on.

Source: elf(5); linux/elfcore.h, linux/uapi/linux/elf.h
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

PAGE = os.sysconf("SC_PAGE_SIZE")
READ, WRITE, EXECUTE = 4, 2, 1
_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_SHDR = struct.Struct("<IIQQQQIIQQ")
_NHDR = struct.Struct("<III")
_IDENT = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
_CORE, _LOAD, _NOTE = 4, 1, 4
_MANY = 0xFFFF
"""What `e_phnum` is where there are so many headers that a section header has to say it."""
_PRSTATUS, _FPREGSET, _PRPSINFO, _AUXV, _FILE = 1, 2, 3, 6, 0x46494C45
_STATUS = struct.Struct("<iiihxxQQiiii8Q")
_PRPSINFO_BODY = struct.Struct("<bbbb4xQIIiiii16s80s")
_STATES = "RSDTZW"
"""What the kernel numbers the states of processes by, here."""
MAX_FILES = 4 * 1024 * 1024
"""Bytes of the table of mapped files, as in the kernel's own cores."""


class Machine(NamedTuple):
    """One architecture."""

    number: int
    registers: int
    """Bytes of a thread's general registers."""
    pc: int
    """Which of them is the program counter, which the stack pointer."""
    sp: int


MACHINES = {
    "x86_64": Machine(62, 27 * 8, 16, 19),
    "aarch64": Machine(183, 34 * 8, 32, 31),
}


class Segment(NamedTuple):
    """A part of the address space: `stored` bytes from `offset` on, then zeros up to `size`."""

    start: int
    stored: int
    size: int
    flags: int
    offset: int
    """Where its bytes begin, after all the headers."""


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread's registers, as the kernel stores them; empty where they could not be had."""

    number: int
    general: bytes = b""
    floating: bytes = b""


class ProcessGroup(NamedTuple):
    """Numbers that every thread of a process shares."""

    parent: int
    group: int
    session: int


@dataclass(frozen=True, slots=True)
class Info:
    """What is known of the process as a whole."""

    pid: int
    family: ProcessGroup
    state: str
    nice: int
    uid: int
    gid: int
    command: bytes
    arguments: bytes


def note(kind: int, body: bytes) -> bytes:
    """Return one note of the kernel's own sort."""
    padded = body.ljust(-(-len(body) // 4) * 4, b"\0")
    # The name has five bytes with its NUL; it and the body end at multiples of four.
    return _NHDR.pack(5, len(body), kind) + b"CORE\0\0\0\0" + padded


def thread_notes(machine: Machine, thread: Thread, family: ProcessGroup) -> bytes:
    """Return `NT_PRSTATUS`, and `NT_FPREGSET` where its registers are known."""
    general = thread.general[: machine.registers].ljust(machine.registers, b"\0")
    fields = (0, 0, 0, 0, 0, 0, thread.number, *family, *(0,) * 8)
    status = _STATUS.pack(*fields) + general + struct.pack("<i4x", bool(thread.floating))
    floating = note(_FPREGSET, thread.floating) if thread.floating else b""
    return note(_PRSTATUS, status) + floating


def pointers(machine: Machine, pc: int, sp: int) -> bytes:
    """Return general registers of which only these two are known."""
    words = [0] * (machine.registers // 8)
    words[machine.pc], words[machine.sp] = pc, sp
    return struct.pack(f"<{len(words)}Q", *words)


def info_note(info: Info) -> bytes:
    """Return `NT_PRPSINFO`."""
    number = max(_STATES.find(info.state), 0)
    return note(
        _PRPSINFO,
        _PRPSINFO_BODY.pack(
            *(number, ord(info.state), info.state == "Z", info.nice, 0, info.uid, info.gid),
            *(info.pid, *info.family),
            # The fields have 16 and 80 bytes, a NUL at their end.
            *(info.command[:15], info.arguments[:79]),
        ),
    )


def auxv_note(auxv: bytes) -> bytes:
    """Return `NT_AUXV`, which leads a debugger to the program's entry and its linker."""
    return note(_AUXV, auxv)


def file_note(files: Iterable[tuple[int, int, int, bytes]]) -> tuple[bytes, int]:
    """Return `NT_FILE`, and how many of `files` it has no room for.

    Each is a start, an end, an offset in bytes, and a path.
    """
    rows, names, left = bytearray(), bytearray(), 0
    for start, end, offset, path in files:
        if len(rows) + len(names) + 24 + len(path) > MAX_FILES:
            left += 1
            continue
        # Offsets count pages, of the size that is written in front of the table.
        rows += struct.pack("<QQQ", start, end, offset // PAGE)
        names += path + b"\0"
    return note(_FILE, struct.pack("<QQ", len(rows) // 24, PAGE) + rows + names), left


def head(machine: Machine, segments: Sequence[Segment], notes: bytes) -> bytes:
    """Return the file up to its first page of memory: a whole number of pages."""
    count = len(segments) + 1
    extended = count >= _MANY
    table = _EHDR.size
    after = table + count * _PHDR.size
    notes_at = after + (_SHDR.size if extended else 0)
    data_at = -(-(notes_at + len(notes)) // PAGE) * PAGE
    out = bytearray(
        _EHDR.pack(
            *(_IDENT, _CORE, machine.number, 1, 0, table, after if extended else 0, 0),
            *(_EHDR.size, _PHDR.size, _MANY if extended else count),
            *((_SHDR.size, 1, 0) if extended else (0, 0, 0)),
        )
    )
    out += _PHDR.pack(_NOTE, READ, notes_at, 0, 0, len(notes), 0, 4)
    for start, stored, size, flags, offset in segments:
        out += _PHDR.pack(_LOAD, flags, data_at + offset, start, 0, stored, size, PAGE)
    if extended:
        # The section's size is the number of sections, its info the number of program headers.
        out += _SHDR.pack(0, 0, 0, 0, 0, 1, 0, count, 0, 0)
    out += notes
    return bytes(out.ljust(data_at, b"\0"))
