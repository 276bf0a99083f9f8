"""The kernel's memory, read without changing anything: for what waits there and no call tells.

A small program of eBPF, run on demand by `BPF_PROG_TEST_RUN` and attached to nothing, copies bytes
by `bpf_probe_read_kernel`, which fails where there are none. It takes `SYS_ADMIN` (or `BPF` and
`PERFMON`), and is refused under the kernel's lockdown for confidentiality. What is read may change
meanwhile: whoever follows pointers has to check what they lead to, and to count their steps::

    with KernelMemory.opened() as memory:
        task = memory.current()
        number = memory.word(task + layout["task_struct"].at["pid"], 4)

Source: bpf(2), bpf-helpers(7)
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from collector.files.safe_open import opened
from collector.node.ebpf import call_bpf

MAX_READ = 4095
"""Bytes that are read at once."""
_MAP_CREATE, _MAP_LOOKUP, _PROG_LOAD, _TEST_RUN = 0, 1, 5, 10
_ARRAY, _RAW_TRACEPOINT = 2, 17
_LOOKUP, _CURRENT_TASK, _PROBE_READ_KERNEL = 1, 35, 113
_LICENSE = b"Dual MIT/GPL"
"""The kernel lets only what says so call these functions; this program is the project's own."""


def _step(code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhi", code, source << 4 | target, offset, value)


def _program(values: int) -> bytes:
    """Return the program: it puts what is at an address, or the task's own, into the map."""
    return b"".join(
        (
            _step(0xBF, 6, 1),  # r6 = the arguments: address, size
            _step(0x62, 10, 0, -4),  # the map's only key, 0, on the stack
            _step(0xBF, 2, 10),
            _step(0x07, 2, 0, 0, -4),
            _step(0x18, 1, 1, 0, values) + _step(0),
            _step(0x85, value=_LOOKUP),
            _step(0x55, 0, 0, 2),  # there is a place for the value
            _step(0xB7, 0, 0, 0, 1) + _step(0x95),
            _step(0xBF, 7),
            _step(0x79, 3, 6),
            _step(0x79, 2, 6, 8),
            _step(0x55, 3, 0, 4),  # an address: read there
            _step(0x85, value=_CURRENT_TASK),
            _step(0x7B, 7),
            _step(0xB7, 0) + _step(0x95),
            _step(0x57, 2, 0, 0, MAX_READ),
            _step(0xBF, 1, 7),
            _step(0x85, value=_PROBE_READ_KERNEL),
            _step(0x95),
        )
    )


@dataclass(slots=True)
class KernelMemory:
    """The program, loaded; for one thread."""

    program: int
    values: int
    _value: ctypes.Array[ctypes.c_char] = field(
        default_factory=lambda: ctypes.create_string_buffer(MAX_READ + 1)
    )
    _key: ctypes.Array[ctypes.c_char] = field(
        default_factory=lambda: ctypes.create_string_buffer(4)
    )

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator[KernelMemory]:
        """Load the program for the block. Raises `OSError` where the kernel does not let us."""
        values, _ = call_bpf(_MAP_CREATE, struct.pack("=5I", _ARRAY, 4, MAX_READ + 1, 1, 0))
        with opened(values):
            code = _program(values)
            steps = ctypes.create_string_buffer(code, len(code))
            rights = ctypes.create_string_buffer(_LICENSE)
            places = ctypes.addressof(steps), ctypes.addressof(rights)
            head = struct.pack("=IIQQ", _RAW_TRACEPOINT, len(code) // 8, *places)
            program, _ = call_bpf(_PROG_LOAD, head + bytes(48))
            with opened(program):
                yield cls(program, values)

    def current(self) -> int:
        """Return where this thread's own task is."""
        self._run(0, 0)
        return int.from_bytes(self._result(8), sys.byteorder)

    def read(self, address: int, size: int) -> bytes:
        """Return `size` bytes at an address. Raises `OSError` where there are not so many."""
        parts = []
        while size > 0:
            part = min(size, MAX_READ)
            self._run(address, part)
            parts.append(self._result(part))
            address, size = address + part, size - part
        return b"".join(parts)

    def word(self, address: int, size: int = 8) -> int:
        """Return a number at an address."""
        return int.from_bytes(self.read(address, size), sys.byteorder)

    def _run(self, address: int, size: int) -> None:
        context = ctypes.create_string_buffer(struct.pack("=QQ", address, size), 16)
        place = ctypes.addressof(context)
        attributes = struct.pack(
            "=IIIIQQIIIIQQIII", self.program, *bytes(7), 16, 0, place, *bytes(4)
        )
        _, told = call_bpf(_TEST_RUN, attributes)
        result = struct.unpack_from("=i", told, 4)[0]
        if result:
            code = -result if result < 0 else errno.EFAULT
            raise OSError(code, f"nothing is at {address:#x}: {os.strerror(code)}")

    def _result(self, size: int) -> bytes:
        places = ctypes.addressof(self._key), ctypes.addressof(self._value)
        call_bpf(_MAP_LOOKUP, struct.pack("=IIQQQ", self.values, 0, *places, 0))
        return self._value.raw[:size]
