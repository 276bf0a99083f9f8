"""Files that have no name any more, and are there only because processes hold them.

A process may run one, have it open, or have it mapped. /proc leads to each of them::

    found = Search(until=time.monotonic() + 60)
    found.look(pids)
    for file in found.files.values(): ...

Source: proc_pid_fd(5), proc_pid_map_files(5), memfd_create(2), sysvipc(7)
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import islice

from collector.files.safe_open import open_in_root, opened
from collector.node.procfs import Process

MAX_FILES = 10_000
"""Files that are remembered; the rest are counted."""
MAX_LINKS = 512 * 1024
"""Open files and mappings, of all processes, that are looked at."""
MAX_MAPS = 32 * 1024 * 1024
"""Bytes of one process's memory map."""
_DELETED = b" (deleted)"
_MEMFD = b"/memfd:"
_SYSV = b"/SYSV"
_AREA = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) \S{4} [0-9a-f]+ ([0-9a-f]+:[0-9a-f]+) (\d+) *(/[^\n]*) \(deleted\)$"
)


@dataclass(slots=True)
class DeletedFile:
    """One file without a name."""

    how: str
    """`executable`, `file` or `mapped file`; `memfd program` and `memfd` where it never had one."""
    path: bytes
    """What it was called."""
    pid: int
    """The first process that holds it."""
    size: int
    command: bytes = b""
    """What that process is called."""
    holders: int = 1
    """Processes that hold it."""


@dataclass(slots=True)
class Search:
    """A search through a container's processes; it blocks, and is meant for a thread."""

    until: float
    """When it gives up, by the monotonic clock."""
    files: dict[tuple[int, int], DeletedFile] = field(default_factory=dict)
    """By device and inode."""
    more: int = 0
    """Times that a process holds one past `MAX_FILES`."""
    unseen: list[int] = field(default_factory=list)
    """Processes that were not looked at, or not wholly."""
    links: int = MAX_LINKS

    def look(self, pids: Iterable[int]) -> None:
        """Look at these processes; one that ends meanwhile holds nothing any more."""
        for pid in pids:
            if self._over():
                self.unseen.append(pid)
                continue
            try:
                with Process.open(pid) as process:
                    self._process(process)
            except PermissionError:
                self.unseen.append(pid)
            except OSError:
                continue

    def _over(self) -> bool:
        return self.links <= 0 or time.monotonic() > self.until

    def _process(self, process: Process) -> None:
        """Note what it holds, each file once: what it runs is mapped as well."""
        known: set[tuple[int, int]] = set()
        for step in (lambda _: [("executable", "exe")], self._open_files, self._mapped):
            for how, name in step(process):
                if self._over():
                    self.unseen.append(process.pid)
                    return
                self.links -= 1
                with suppress(FileNotFoundError):
                    self._note(process, how, name, known)

    def _open_files(self, process: Process) -> Iterator[tuple[str, str]]:
        """Yield what it has open, and what its threads have: each may have files of its own."""
        yield from self._folder(process, "fd")
        for number in process.other_threads(self.links + 1):
            with suppress(FileNotFoundError, ProcessLookupError):
                yield from self._folder(process, f"task/{number}/fd")

    def _folder(self, process: Process, name: str) -> list[tuple[str, str]]:
        folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=process.folder)
        with opened(folder), os.scandir(folder) as entries:
            # One more than may be looked at, so that it is noticed.
            return [("file", f"{name}/{entry.name}") for entry in islice(entries, self.links + 1)]

    def _mapped(self, process: Process) -> list[tuple[str, str]]:
        """Return where deleted files are mapped, each file once."""
        found: dict[tuple[bytes, bytes], tuple[str, str]] = {}
        with suppress(FileNotFoundError, ProcessLookupError):
            file, size = os.open("maps", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process.folder), 0
            with os.fdopen(file, "rb") as lines:
                for line in lines:
                    size += len(line)
                    if size > MAX_MAPS:
                        self.unseen.append(process.pid)
                        break
                    if match := _AREA.match(line):
                        start, end = int(match[1], 16), int(match[2], 16)
                        place = "mapped file", f"map_files/{start:x}-{end:x}"
                        found.setdefault((match[3], match[4]), place)
        return list(found.values())

    def _note(self, process: Process, how: str, name: str, known: set[tuple[int, int]]) -> None:
        link = process.link(name)
        if not link.endswith(_DELETED):
            return
        found = os.stat(name, dir_fd=process.folder)
        path, key = link.removesuffix(_DELETED), (found.st_dev, found.st_ino)
        if key in known or not stat.S_ISREG(found.st_mode) or _is_memory(path, found.st_dev):
            return
        if found.st_nlink and _has_that_name(process, link, found):
            return
        known.add(key)
        if key in self.files:
            self.files[key].holders += 1
        elif len(self.files) >= MAX_FILES:
            self.more += 1
        else:
            command = process.read("comm", 64).removesuffix(b"\n")
            deleted = DeletedFile(
                _kind(how, path, found), path, process.pid, found.st_size, command
            )
            self.files[key] = deleted


def _kind(how: str, path: bytes, found: os.stat_result) -> str:
    internal = found.st_dev == memory_device()
    if internal and path.startswith(_MEMFD):
        return "memfd program" if how == "executable" else "memfd"
    if internal and path.startswith(_SYSV):
        return "shared memory"
    return f"deleted {how}"


def _is_memory(path: bytes, device: int) -> bool:
    """Whether it is memory that processes share without a file: the kernel calls it so."""
    return path == b"/dev/zero" and device == memory_device()


def _has_that_name(process: Process, link: bytes, found: os.stat_result) -> bool:
    """Whether the file is really called `... (deleted)`.

    An overlay counts the names in the image, so that the count alone does not say.
    """
    with suppress(OSError):
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        with opened(os.open("root", flags, dir_fd=process.folder)) as root:
            place_flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
            with opened(open_in_root(root, link, place_flags)) as place:
                return os.path.samestat(os.fstat(place), found)
    return False


@cache
def memory_device() -> int:
    """Return the device on which the kernel keeps memfds and shared memory."""
    with opened(os.memfd_create("probe", os.MFD_CLOEXEC)) as file:
        return os.fstat(file).st_dev
