"""Processes whose memory is looked at."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

HEAD = """
import ctypes, mmap, os, signal, sys, threading
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] * 5]
for call in (LIBC.mprotect, LIBC.madvise):
    call.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
PAGE = mmap.PAGESIZE
def anonymous(size, flags=0x4022):
    return LIBC.mmap(None, size, 3, flags, 2**64 - 1, 0)
def fill(place, word):
    ctypes.memmove(place, word, len(word))
def hear():
    sys.stdin.readline()
def tell(*numbers):
    print(*numbers, flush=True)
"""


class Subject(NamedTuple):
    process: subprocess.Popen[str]
    numbers: list[int]

    @property
    def pid(self) -> int:
        return self.process.pid

    def go_on(self) -> list[int]:
        """Let it go on, and return what it says next."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return [int(word) for word in self.process.stdout.readline().split()]


@contextmanager
def subject(script: str) -> Iterator[Subject]:
    """Run Python that tells numbers once it is ready, and hears what it is to go on for."""
    with subprocess.Popen(
        [sys.executable, "-c", HEAD + script + "\nhear()\nhear()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            yield Subject(process, [int(word) for word in process.stdout.readline().split()])
        finally:
            process.kill()
