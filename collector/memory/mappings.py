"""What a process has mapped, as `/proc/PID/maps` tells it, and what of that belongs in a core.

Source: proc_pid_maps(5)
"""

from __future__ import annotations

import os
import re
from enum import StrEnum
from typing import NamedTuple

from collector.memory.elf import EXECUTE, READ, WRITE
from collector.node.abandonable import raise_if_abandoned
from collector.node.procfs import Process

MAX_MAPPINGS = 65_536
"""Mappings of one process that are looked at; the kernel's usual limit is 65,530."""
MAX_LINE = 64 * 1024
_LINE = re.compile(
    rb"([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) ([0-9a-f]+:[0-9a-f]+) (\d+) *([^\n]*)\n?"
)
_DELETED = b" (deleted)"
_KERNEL = (b"[vvar", b"[vsyscall]", b"[uprobes]")
_MEMORY = (b"/dev/zero", b"/dev/shm/")


class MappingKind(StrEnum):
    """What a mapping is; the value is the word of `memory.json` for it."""

    PRIVATE = "private"
    """Memory without a file: heap, stacks, what `mmap` gave."""
    MODIFIED = "modified"
    """A private mapping of a file that has a name: what was written there is nowhere else."""
    NAMELESS = "nameless"
    """Of a file without a name: deleted, a memfd, shared memory."""
    SHARED = "shared"
    """A shared mapping of a file that has a name: its bytes are the file's."""
    DEVICE = "device"
    KERNEL = "kernel"
    """The kernel's own pages: clocks, not the process's memory."""


class Mapping(NamedTuple):
    """One line of the map."""

    start: int
    end: int
    flags: int
    """The segment's, in a core."""
    shared: bool
    offset: int
    """In the file, in bytes."""
    device: bytes
    inode: int
    path: bytes

    @property
    def size(self) -> int:
        """Bytes of address space."""
        return self.end - self.start

    @property
    def place(self) -> str:
        """The link to its file, in the process's folder."""
        return f"map_files/{self.start:x}-{self.end:x}"

    @property
    def sort(self) -> MappingKind:
        """What is taken of it follows from this."""
        if self.path.startswith(_KERNEL):
            return MappingKind.KERNEL
        # Shared memory that was given a name with prctl(2): it takes the place of the file's.
        if self.path.startswith(b"[anon_shmem:"):
            return MappingKind.NAMELESS
        if not self.inode or not self.path.startswith((b"/", b"anon_inode:", b"socket:")):
            return MappingKind.PRIVATE
        if self._is_device:
            return MappingKind.DEVICE
        if self.path.endswith(_DELETED):
            return MappingKind.NAMELESS
        # Mapped shared it is a file of its own, which the kernel shows as deleted.
        if self.path == b"/dev/zero":
            return MappingKind.PRIVATE
        return MappingKind.SHARED if self.shared else MappingKind.MODIFIED

    @property
    def _is_device(self) -> bool:
        """Whether reading it could act: memory of a card, rings that the kernel shares."""
        if self.path.startswith(b"/"):
            known = self.path.startswith(_MEMORY) or self.path.endswith(_DELETED)
            return self.shared and self.path.startswith(b"/dev/") and not known
        return True


class Mappings(NamedTuple):
    """The map of a process."""

    rows: list[Mapping]
    more: int
    """Lines that were not looked at."""


def mappings(process: Process) -> Mappings:
    """Return what it has mapped, in order of address. Raises `OSError`."""
    file = os.open("maps", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process.folder)
    rows, more = list[Mapping](), 0
    # Each path once: thousands of mappings are of a few files.
    paths: dict[bytes, bytes] = {}
    with os.fdopen(file, "rb") as lines:
        while line := lines.readline(MAX_LINE):
            raise_if_abandoned()
            found = _LINE.fullmatch(line) if len(rows) < MAX_MAPPINGS else None
            if found:
                rows.append(_mapping(found, paths))
            else:
                more += 1
    return Mappings(rows, more)


def _mapping(found: re.Match[bytes], paths: dict[bytes, bytes]) -> Mapping:
    start, end, flags, offset, device, inode, path = found.groups()
    bits = (flag for byte, flag in zip(flags, (READ, WRITE, EXECUTE), strict=False) if byte != 45)
    return Mapping(
        *(int(start, 16), int(end, 16), sum(bits), flags[3:] == b"s"),
        *(int(offset, 16), paths.setdefault(device, device), int(inode)),
        paths.setdefault(path, path),
    )
