"""Which pages of a process's address space hold anything: the others are not read.

Reading a page that was never touched would make the process have it, at the cost of its own limit
of memory; and address spaces have terabytes of them. Kernels from 6.7 on are asked for ranges
(`PAGEMAP_SCAN`), older ones tell of each page.

Source: https://docs.kernel.org/admin-guide/mm/pagemap.html
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from collector.memory.elf import PAGE
from collector.node.abandonable import raise_if_abandoned

_SCAN = 0xC0606610
_ARGUMENT = struct.Struct("<12Q")
_REGION = struct.Struct("<QQQ")
_FILE, _PRESENT, _SWAPPED, _ZERO, _GUARD = 4, 8, 16, 32, 256
_VECTOR = 1024
"""Ranges that one call answers with."""
_STEP = 512 * 1024
"""Bytes of the page map that are read at once: eight a page."""
_NOTHING = bytes(_STEP)
_IN_MEMORY, _IN_SWAP, _OF_FILE, _IS_GUARD = 1 << 63, 1 << 62, 1 << 61, 1 << 58
MAX_MAP = 1024 * 1024 * 1024
"""Bytes of the page map that are read of one process: of 512 GiB of its address space."""


class PageRun(NamedTuple):
    """Pages in a row that hold something."""

    start: int
    end: int
    of_file: bool
    """Whether they are as in the file that is mapped there, or shared memory."""


class TooSparse(Exception):
    """More of the page map would have to be read than may be."""


class Pages:
    """The page map of one process, open at `descriptor`; whoever opened it closes it."""

    def __init__(self, descriptor: int, *, scan: bool = True, left: int = MAX_MAP) -> None:
        self._descriptor = descriptor
        self._scans = scan
        self._bad = _ZERO | _GUARD
        self._left = left
        self._vector = ctypes.create_string_buffer(_REGION.size * _VECTOR)

    def runs(self, start: int, end: int) -> Iterator[PageRun]:
        """Yield the runs in a part of the address space, in order.

        Raises `OSError`, and `TooSparse` where the kernel knows no ranges and the part is huge.
        """
        while start < end:
            if not self._scans:
                yield from self._read(start, end)
                return
            raise_if_abandoned()
            found = self._ranges(start, end)
            if found is not None:
                for index in range(found):
                    first, start, sort = _REGION.unpack_from(self._vector, index * _REGION.size)
                    yield PageRun(first, start, bool(sort & _FILE))
                # Where the kernel says it came to may be of an earlier step of its own.
                if found < _VECTOR:
                    return

    def _ranges(self, start: int, end: int) -> int | None:
        """Ask for ranges: how many it answered with; None is to ask another way."""
        wanted, vector = _PRESENT | _SWAPPED, ctypes.addressof(self._vector)
        request = (0, start, end, 0, vector, _VECTOR, 0, self._bad, self._bad, wanted, _FILE)
        argument = bytearray(_ARGUMENT.pack(_ARGUMENT.size, *request))
        try:
            return int(fcntl.ioctl(self._descriptor, _SCAN, argument, True))
        except OSError as error:
            if error.errno not in {errno.ENOTTY, errno.EINVAL}:
                raise
            # Guard pages are newer than ranges are.
            self._scans, self._bad = self._bad != _ZERO and error.errno == errno.EINVAL, _ZERO
            return None

    def _read(self, start: int, end: int) -> Iterator[PageRun]:
        """Yield the runs as the words of single pages tell them."""
        run: PageRun | None = None
        for address, word in self._words(start, end):
            held = word & (_IN_MEMORY | _IN_SWAP) and not word & _IS_GUARD
            if not held:
                continue
            of_file = bool(word & _OF_FILE)
            if run and (run.end, run.of_file) == (address, of_file):
                run = PageRun(run.start, address + PAGE, of_file)
                continue
            if run:
                yield run
            run = PageRun(address, address + PAGE, of_file)
        if run:
            yield run

    def _words(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the address and the word of each page that has one."""
        while start < end:
            raise_if_abandoned()
            size = min(_STEP, (end - start) // PAGE * 8)
            if size > self._left:
                raise TooSparse
            self._left -= size
            data = os.pread(self._descriptor, size, start // PAGE * 8)
            if not data:
                return
            if data != _NOTHING[: len(data)]:
                words = array("Q", data)
                yield from ((start + at * PAGE, word) for at, word in enumerate(words) if word)
            start += len(data) // 8 * PAGE
