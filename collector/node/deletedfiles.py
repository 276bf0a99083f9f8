"""Files that have no name any more, and are there only because processes hold them.

A process may run one, have it open, or have it mapped. /proc leads to each of them::

    found = Search(until=time.monotonic() + 60)
    found.look(pids)
    for file in found.files.values(): ...

Each is held from the moment that it was found, by a descriptor without any right to read: it is
still there after its process has ended.

Source: proc_pid_fd(5), proc_pid_map_files(5), memfd_create(2), sysvipc(7)
"""

from __future__ import annotations

import errno
import os
import re
import resource
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

from collector.files.safe_open import open_in_root, opened
from collector.files.statx import Status, statx
from collector.node.procfs import LONG_PATH, Process
from collector.node.silent import is_silent, sees_silent

MAX_FILES = 4096
"""Files that are remembered, and held; the rest are counted."""
MAX_HOLDS = 64
"""Places at which one file is held that are remembered; the rest are counted."""
MAX_MEMBERS = 100_000
"""Places of all files that the rows of processes name."""
MAX_INFO = 64 * 1024
"""Bytes of what the kernel says of one descriptor."""
MAX_LINKS = 512 * 1024
"""Open files and mappings, of all processes, that are looked at."""
MAX_MAPS = 32 * 1024 * 1024
"""Bytes of one process's memory map."""
SPARE = 512
"""Descriptors of this process that are left for everything else."""
_DELETED = b" (deleted)"
_MEMFD = b"/memfd:"
_SYSV = b"/SYSV"
_AREA = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) \S{4} [0-9a-f]+ ([0-9a-f]+:[0-9a-f]+) (\d+) *(/[^\n]*) \(deleted\)$"
)


_POSITION = re.compile(rb"^(pos|flags):\t(\d+)$", re.MULTILINE)

FileKey = tuple[tuple[int, int], int, bytes]
"""Device and inode; of System V shared memory, whose inodes are numbered anew in each IPC
namespace, that namespace too."""


class SharedDescriptor:
    """A descriptor that is closed with its last user, whatever becomes of the capture."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        """Close it."""
        os.close(self.number)


class FileHold(NamedTuple):
    """Where a process holds a file."""

    pid: int
    place: str
    """In its folder of /proc: `exe`, `fd/5`, `map_files/7f..-7f..`."""
    position: int | None = None
    """Of an open file: where it is read or written next."""
    flags: str = ""
    """Of an open file: what it was opened with, in octal, as /proc has it."""


@dataclass(slots=True)
class DeletedFile:
    """One file without a name."""

    how: str
    """`executable`, `file` or `mapped file`; `memfd program` and `memfd` where it never had one."""
    path: bytes
    """What it was called."""
    pid: int
    """The first process that holds it."""
    place: str
    """Where that does, in its folder of /proc."""
    status: Status
    file: SharedDescriptor | None = None
    """The file itself, for whoever wants to read it."""
    command: bytes = b""
    """What the process is called."""
    holders: int = 1
    """Processes that hold it."""
    holds: list[FileHold] = field(default_factory=list)
    """Where they do, the first of them."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What else is known of it."""
    silent: bool = False
    """Whether its file system need never answer."""
    folder: str = ""
    """Where it is in an archive, ending in `/`; empty for the top."""

    @property
    def size(self) -> int:
        """Bytes, holes included."""
        return self.status.size

    @property
    def runs(self) -> bool:
        """Whether a process runs it."""
        return self.how in {"deleted executable", "memfd program"}

    @property
    def member(self) -> str:
        """What it is called in an archive."""
        return f"{self.folder}{self.pid}/{self.place}"

    @property
    def stored(self) -> int:
        """Bytes that it takes to store it, roughly; a small file may have no block of its own."""
        return min(self.size, max(self.status.blocks * 512, 4096))


@dataclass(slots=True)
class DeletedFileSearch:
    """A search through a container's processes; it blocks, and is meant for a thread."""

    until: float
    """When it gives up, by the monotonic clock."""
    files: dict[FileKey, DeletedFile] = field(default_factory=dict)
    more: int = 0
    """Times that a process holds one that is not remembered."""
    unseen: list[int] = field(default_factory=list)
    """Processes that were not looked at, or not wholly."""
    links: int = MAX_LINKS
    max_files: int = MAX_FILES
    max_maps: int = MAX_MAPS
    spare: int = SPARE
    members: dict[int, dict[str, FileKey]] = field(default_factory=dict)
    """What each process holds, by place."""
    _members: int = 0

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
        known: set[FileKey] = set()
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
                    if size > self.max_maps:
                        self.unseen.append(process.pid)
                        break
                    if match := _AREA.match(line):
                        start, end = int(match[1], 16), int(match[2], 16)
                        place = "mapped file", f"map_files/{start:x}-{end:x}"
                        found.setdefault((match[3], match[4]), place)
        return list(found.values())

    def _note(self, process: Process, how: str, name: str, known: set[FileKey]) -> None:
        link = process.link(name)
        if not link.endswith(_DELETED) and link != LONG_PATH:
            return
        held = self._open(process, name)
        found, path = statx(held.number), link.removesuffix(_DELETED)
        key = _key(process, path, found)
        again = key in known
        # A file may be open many times, each with a position; the rest say the same of it.
        if again and not name.startswith("fd/"):
            return
        if not stat.S_ISREG(found.mode) or _is_memory(path, found.device):
            return
        # Of a path that is too long the count of names is all that tells.
        if found.links and (link == LONG_PATH or _has_that_name(process, link, found)):
            return
        known.add(key)
        self._add(key, process, name, held, path, found, how, again)

    def _open(self, process: Process, name: str) -> SharedDescriptor:
        """Hold a file. Raises `FileNotFoundError` also where there are no descriptors left for it:
        what is captured at the same time needs some, too."""
        try:
            held = SharedDescriptor(os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=process.folder))
        except OSError as error:
            if error.errno not in {errno.EMFILE, errno.ENFILE}:
                raise
        else:
            if held.number < resource.getrlimit(resource.RLIMIT_NOFILE)[0] - self.spare:
                return held
        self.more += 1
        raise FileNotFoundError(name)

    def _add(
        self,
        key: FileKey,
        process: Process,
        name: str,
        held: SharedDescriptor,
        path: bytes,
        found: Status,
        how: str,
        again: bool,
    ) -> None:
        file = self.files.get(key)
        if file is None and len(self.files) >= self.max_files:
            self.more += 1
            return
        if file is None:
            command = process.read("comm", 64).removesuffix(b"\n")
            kind = _kind(how, path, found)
            file = DeletedFile(kind, path, process.pid, name, found, held, command)
            file.silent = is_silent(process, found.device)
            self.files[key] = file
        elif not again:
            file.holders += 1
        if len(file.holds) < MAX_HOLDS:
            file.holds.append(_hold(process, name))
        if self._members < MAX_MEMBERS:
            self._members += 1
            self.members.setdefault(process.pid, {})[name] = key


def _key(process: Process, path: bytes, found: Status) -> FileKey:
    shared = found.device == memory_device() and path.startswith(_SYSV)
    return found.device, found.inode, process.link("ns/ipc") if shared else b""


def _hold(process: Process, name: str) -> FileHold:
    folder, _, number = name.rpartition("/")
    if folder.rpartition("/")[2] != "fd":
        return FileHold(process.pid, name)
    told: dict[bytes, bytes] = {}
    with suppress(OSError):
        told = dict(_POSITION.findall(process.read(f"{folder}info/{number}", MAX_INFO)))
    position = int(told[b"pos"]) if b"pos" in told else None
    return FileHold(process.pid, name, position, told.get(b"flags", b"").decode())


def _kind(how: str, path: bytes, found: Status) -> str:
    internal = found.device == memory_device()
    if internal and path.startswith(_MEMFD):
        return "memfd program" if how == "executable" else "memfd"
    if internal and path.startswith(_SYSV):
        return "shared memory"
    return f"deleted {how}"


def _is_memory(path: bytes, device: tuple[int, int]) -> bool:
    """Whether it is memory that processes share without a file: the kernel calls it so."""
    return path == b"/dev/zero" and device == memory_device()


def _has_that_name(process: Process, link: bytes, found: Status) -> bool:
    """Whether the file is really called `... (deleted)`: not known where the way there may hang.

    An overlay counts the names in the image, so that the count alone does not say.
    """
    if sees_silent(process):
        return False
    with suppress(OSError):
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        with opened(os.open("root", flags, dir_fd=process.folder)) as root:
            place_flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
            with opened(open_in_root(root, link, place_flags)) as place:
                there = statx(place)
                return (there.device, there.inode) == (found.device, found.inode)
    return False


@cache
def memory_device() -> tuple[int, int]:
    """Return the device on which the kernel keeps memfds and shared memory."""
    with opened(os.memfd_create("probe", os.MFD_CLOEXEC)) as file:
        return statx(file).device
