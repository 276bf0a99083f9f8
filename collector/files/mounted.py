"""The mounts of a container, each opened by itself through the container's own mount namespace.

Paths in a container are moved and linked at will while they are read. What was opened is therefore
compared with the number of the mount that was meant, and nothing beyond that mount is ever read.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice

from collector.files.covered import open_covered
from collector.files.mounts import clone_mount
from collector.files.mounttable import KERNEL, MEMORY, QUEUES, Mount, parse_table
from collector.files.safe_open import mount_number, open_folder, open_in_root, opened
from collector.node.deletedfiles import SharedDescriptor
from collector.node.procfs import Process

MAX_QUEUES = 100
"""Message queues that are counted."""
MAX_COVERED = 32
"""File systems beneath other mounts that are opened: each takes a copy of the namespace."""

_ID = re.compile("[0-9a-f]{64}")
"""The ID of a container, in the path of its cgroup."""


@dataclass(frozen=True, slots=True)
class SurveyLimits:
    """How much is looked at of one container."""

    mounts: int = 10_000
    """The rest are counted. A kernel allows 100,000."""
    table: int = 8 * 1024 * 1024
    """Bytes of one mount table, and of all mounts."""
    spaces: int = 64
    """Mount namespaces and roots that are looked into."""


SURVEY_LIMITS = SurveyLimits()


@dataclass(slots=True)
class SeenMount:
    """A mount as one of the container's processes sees it."""

    mount: Mount
    pid: int
    """The process whose root `mount.point` is beneath."""
    path: bytes
    """Where it is in the container."""
    space: bytes
    """The mount namespace."""
    size: int | None = None
    """Bytes in it, where they are known."""
    is_file: bool = False
    """Whether it is a single regular file."""
    names: int = 0
    """Message queues in it, if it is of that kind; the first few are counted."""
    obstacle: str = ""
    """Why it cannot be read."""
    covered: SharedDescriptor | None = None
    """The mount itself, open, where another one covers it."""


@dataclass(slots=True)
class Survey:
    """All mounts of a container."""

    mounts: list[SeenMount] = field(default_factory=list)
    more: int = 0
    """Mounts past the limit."""
    spaces: dict[tuple[bytes, bytes], int] = field(default_factory=dict)
    """The namespaces and roots that were looked into, each with its process."""
    unseen: int = 0
    """Processes whose table was not read."""
    chrooted: list[bytes] = field(default_factory=list)
    """Roots of namespaces of which nothing outside is in sight."""

    def of(self, space: bytes) -> Iterator[SeenMount]:
        """Yield the mounts of one namespace."""
        return (seen for seen in self.mounts if seen.space == space)


def survey(pids: Iterable[int], key: str, limits: SurveyLimits = SURVEY_LIMITS) -> Survey:
    """Return what is mounted for these processes, the first of them the container's first.

    Of other containers, which may share a PID namespace with it, `key` tells them apart.
    """
    found, known = Survey(), _KnownMounts(limits.table)
    for pid in pids:
        try:
            with Process.open(pid) as process:
                if _is_ours(process, key):
                    _look(process, found, known, limits)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended, and sees nothing any more
        except OSError:
            found.unseen += _is_there(pid)
    roots: dict[bytes, set[bytes]] = {}
    for space, root in found.spaces:
        roots.setdefault(space, set()).add(root)
    found.chrooted = sorted(min(each) for each in roots.values() if b"/" not in each)
    return found


def _is_ours(process: Process, key: str) -> bool:
    """Whether a process of the container's PID namespace is not one of another container.

    All of a pod may share that namespace. Who may write to cgroups can leave the container's; then
    no container's ID is in its path, as there is one in that of each other container.
    """
    paths = process.cgroups().values()
    return any(key in path for path in paths) or not any(map(_ID.search, paths))


def _is_there(pid: int) -> bool:
    """Return whether a process that could not be read still has mounts: one that ended has none.

    Of one whose first thread has ended, the others may go on.
    """
    try:
        with Process.open(pid) as process:
            state = process.read("stat").rpartition(b")")[2].split()[0]
            return state not in {b"Z", b"X"} or process.count("task") > 1
    except OSError:
        return False


@dataclass(slots=True)
class _KnownMounts:
    """What was seen before: a new namespace begins as a copy of another one."""

    room: int
    """Bytes that further mounts may have."""
    numbers: set[int] = field(default_factory=set)
    copies: dict[tuple[bytes, bytes, bytes], bytes] = field(default_factory=dict)
    """What is mounted where, and in which namespace it was seen first."""

    def add(self, mount: Mount, path: bytes, space: bytes) -> bool:
        """Return whether a mount is a new one."""
        what = (mount.device, mount.root, path)
        if mount.number in self.numbers or self.copies.setdefault(what, space) != space:
            return False
        self.numbers.add(mount.number)
        return True


def _look(process: Process, found: Survey, known: _KnownMounts, limits: SurveyLimits) -> None:
    space, root = process.link("ns/mnt"), process.link("root")
    if (space, root) in found.spaces:
        return
    if len(found.spaces) >= limits.spaces:
        found.unseen += 1
        return
    found.spaces[space, root] = process.pid
    for mount in parse_table(process.read("mountinfo", limits.table)):
        path = root.rstrip(b"/") + mount.point if mount.point != b"/" else root
        if not known.add(mount, path, space):
            continue
        known.room -= len(path) + len(mount.root) + len(mount.source) + len(mount.options)
        if len(found.mounts) >= limits.mounts or known.room < 0:
            found.more += 1
        else:
            found.mounts.append(SeenMount(mount, process.pid, path, space))
    found.unseen += "mountinfo" in process.cut


@contextmanager
def open_mount(seen: SeenMount) -> Iterator[int]:
    """Open the place where a mount lies. Raises `OSError`, also where another one covers it."""
    with Process.open(seen.pid) as process:
        root = os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=process.folder)
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    with opened(root), opened(open_in_root(root, seen.mount.point, flags)) as place:
        if mount_number(place) != seen.mount.number:
            raise FileNotFoundError("another mount covers it, or it was moved")
        yield place


@contextmanager
def open_uncovered(seen: SeenMount) -> Iterator[int]:
    """Open a mount without what is mounted within it, so that what that covers is in sight.

    Where the kernel does not grant such a view, it is what `open_mount` opens. Raises `OSError`.
    """
    with open_mount(seen) as place:
        try:
            view = clone_mount(place, seen.pid)
        except OSError:
            yield place
            return
    with opened(view):
        yield view


def uncover(seen: SeenMount) -> None:
    """Open a file system in memory that another mount covers, if that is what is in the way."""
    if seen.obstacle and seen.mount.kind in MEMORY and seen.mount.root == b"/":
        with suppress(OSError):
            seen.covered = SharedDescriptor(open_covered(seen.pid, seen.mount))
            room = os.fstatvfs(seen.covered.number)
            seen.size = (room.f_blocks - room.f_bfree) * room.f_frsize
            seen.obstacle = ""


def measure(seen: SeenMount) -> None:
    """Note what a mount is, and how much is in it. What may hang is not touched."""
    if not seen.mount.answers:
        seen.obstacle = f"a file system of type {seen.mount.kind.decode(errors='replace')} may hang"
        return
    try:
        with open_mount(seen) as place:
            if seen.mount.kind == QUEUES:
                with opened(open_folder(place)) as folder:
                    seen.names = len(entries(folder, MAX_QUEUES))
                return
            status = os.fstat(place)
            seen.is_file = stat.S_ISREG(status.st_mode)
            if seen.is_file:
                seen.size = status.st_size
            elif seen.mount.root == b"/":
                room = os.statvfs(f"/proc/self/fd/{place}")
                seen.size = (room.f_blocks - room.f_bfree) * room.f_frsize
    except OSError as error:
        seen.obstacle = error.strerror or str(error)


def measure_all(mounts: Iterable[SeenMount]) -> None:
    """Measure what can be, but nothing whose path leads through what may hang."""
    mounts, covered = list(mounts), 0
    stuck = {(seen.space, seen.path) for seen in mounts if not seen.mount.answers}
    for seen in mounts:
        if any((seen.space, folder) in stuck for folder in _above(seen.path)):
            seen.obstacle = "its path leads through a file system that may hang"
        elif seen.mount.kind not in KERNEL - {QUEUES}:
            measure(seen)
            if seen.obstacle and (covered := covered + 1) <= MAX_COVERED:
                uncover(seen)


def _above(path: bytes) -> Iterator[bytes]:
    """Yield the directories that a path leads through."""
    while path not in {b"/", b""}:
        path = path.rpartition(b"/")[0] or b"/"
        yield path


def processes_with_other_root(pids: Iterable[int], key: str, root: int) -> list[int]:
    """Return the processes of the container that see another root than its file system `root`.

    One that went into a directory of it, by chroot, does not count: that is in the archive.
    """
    own, found = os.fstat(root), list[int]()
    for pid in pids:
        with suppress(OSError), Process.open(pid) as process:
            at_top = _is_ours(process, key) and process.link("root") == b"/"
            if at_top and not os.path.samestat(os.stat("root", dir_fd=process.folder), own):
                found.append(pid)
    return found


def is_memory(seen: SeenMount) -> bool:
    """Whether it is the whole of a file system in memory."""
    return seen.mount.kind in MEMORY and seen.mount.root == b"/" and not seen.obstacle


def entries(folder: int, most: int) -> list[bytes]:
    """Return the names in an open directory, `most` of them at most, in order."""
    names: list[bytes] = []
    with suppress(FileNotFoundError), os.scandir(folder) as found:
        names = [os.fsencode(entry.name) for entry in islice(found, most)]
    return sorted(names)
