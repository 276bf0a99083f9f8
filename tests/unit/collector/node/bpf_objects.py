"""Objects of eBPF, made with bpf(2) for a test, that go when their descriptors are closed."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from collector.node.ebpf import call_bpf

_MAP_CREATE, _PROG_LOAD, _RAW_TRACEPOINT, _LINK_CREATE = 0, 5, 17, 28
SOCKET_FILTER, CGROUP_SKB, RAW_TRACEPOINT = 1, 8, 17
_MOVE_1, _EXIT = struct.pack("=BBhi", 0xB7, 0, 0, 1), struct.pack("=BBhi", 0x95, 0, 0, 0)


@contextmanager
def closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


LOOT, EVIL, SPY = (f"{word}{os.getpid()}" for word in ("loot", "evil", "spy"))
"""Names of this process's own: the kernel has one list for all tests that run at once."""


@contextmanager
def new_map(name: bytes) -> Iterator[int]:
    """A map with room for three numbers."""
    attributes = struct.pack("=IIIIIII16s", 2, 4, 8, 3, 0, 0, 0, name)
    with closing(call_bpf(_MAP_CREATE, attributes)[0]) as descriptor:
        yield descriptor


@contextmanager
def program(name: bytes, kind: int = SOCKET_FILTER, uses: int | None = None) -> Iterator[int]:
    """A program that returns 1; it `uses` a map."""
    load = b"" if uses is None else struct.pack("=BBhiBBhi", 0x18, 0x11, 0, uses, 0, 0, 0, 0)
    code = load + _MOVE_1 + _EXIT
    instructions, licence = (ctypes.create_string_buffer(each) for each in (code, b"GPL"))
    attributes = struct.pack(
        "=IIQQIIQII16s",
        kind,
        len(code) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(licence),
        0,
        0,
        0,
        0,
        0,
        name,
    )
    with closing(call_bpf(_PROG_LOAD, attributes)[0]) as descriptor:
        yield descriptor


@contextmanager
def on_cgroup(program_: int, folder: str) -> Iterator[int]:
    """A link from a program to what a cgroup receives."""
    with closing(os.open(folder, os.O_RDONLY)) as cgroup:
        made = call_bpf(_LINK_CREATE, struct.pack("=IIII", program_, cgroup, 0, 0))[0]
    with closing(made):
        yield made


@contextmanager
def on_tracepoint(program_: int, name: bytes) -> Iterator[int]:
    """A link from a program to a tracepoint of the kernel."""
    kept = ctypes.create_string_buffer(name)
    with closing(
        call_bpf(_RAW_TRACEPOINT, struct.pack("=QII", ctypes.addressof(kept), program_, 0))[0]
    ) as made:
        yield made


def bpf_is_permitted() -> bool:
    """Whether this kernel lets this process make such objects."""
    try:
        with new_map(b"probe"):
            return True
    except OSError:
        return False
