"""Reading /proc without mixing up processes.

A process is opened once, as a directory; what is read through that descriptor is always of this
process, even if its number is given to another one meanwhile::

    with Process.open(4711) as process:
        arguments = process.read("cmdline").split(b"\\0")
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import islice
from pathlib import Path

from collector.node.abandonable import raise_if_abandoned
from collector.node.uncovered import open_folder

HOST_PROC = "FORENSICS_HOST_PROC"
"""The environment variable that says where the containers' machine has its /proc: in a Job it is
mounted beside the Job's own."""
MAX_BYTES = 8 * 1024 * 1024
"""Read of one file at most; /proc has no file that is longer without being a flood."""
MAX_NAMES = 1024
"""Entries of a directory that is the same for every process."""
_LONGEST_LINE = 32 * 1024
"""Processes of which each is the parent of the next."""
MAX_TRIED = 256
"""Threads that are tried for a process whose first one has ended."""
LONG_PATH = b"(a path that is longer than the kernel tells)"
"""Where a link leads to whose path has more than 4,095 bytes: a file lies as deep as one likes."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_STEP = 256 * 1024
"""Read at once: between two steps a thread that is not waited for any more ends."""


def host_proc() -> Path:
    """Return the /proc in which the containers' processes are."""
    return _path(os.environ.get(HOST_PROC) or "/proc")


@cache
def _path(text: str) -> Path:
    """Return a path, made once: it is asked for with each process."""
    return Path(text)


class Process:
    """One process, open for reading. Everything raises `OSError` once it has ended."""

    def __init__(self, pid: int, folder: int) -> None:
        self.pid = pid
        self.folder = folder
        """The descriptor of /proc/PID."""
        self.cut: list[str] = []
        """Files that were longer than what was read of them."""
        self.refused: list[str] = []
        """What of it this process may not read, as whoever reads notes it."""
        self.covered = False
        """Whether something is mounted over its folder."""
        self.kept: dict[str, bytes] | None = None
        """What is read, and where links lead, by name, for whoever wants the same bytes again."""

    @classmethod
    @contextmanager
    def open(cls, pid: int, proc: Path | None = None) -> Iterator[Process]:
        """Open the process numbered `pid`. Raises `FileNotFoundError` if there is none.

        Of one whose first thread has ended, /proc shows nothing under its number though the others
        go on: then it is opened as one of these.
        """
        base = proc or host_proc()
        folder, covered = open_folder(base, pid)
        try:
            living = _living_thread(base, pid, folder)
            if living is not None:
                folder, ended = living, folder
                os.close(ended)
            process = cls(pid, folder)
            process.covered = covered
            yield process
        finally:
            os.close(folder)

    def read(self, name: str, limit: int = MAX_BYTES) -> bytes:
        """Return the content of the file `name`, `limit` bytes of it at most."""
        with _opened(self.folder, name) as stream:
            content = bytearray()
            while len(content) < limit and (more := stream.read(min(_STEP, limit - len(content)))):
                content += more
                raise_if_abandoned()
            if len(content) >= limit and stream.read(1):
                self.cut.append(name)
        return self._keep(name, bytes(content))

    def link(self, name: str) -> bytes:
        """Return where the symbolic link `name` leads to."""
        return self._keep(name, read_link(name, self.folder))

    def _keep(self, name: str, content: bytes) -> bytes:
        if self.kept is not None:
            self.kept[name] = content
        return content

    def numbers(self, name: str, limit: int | None = None) -> list[int]:
        """Return the entries of the directory `name` that are numbers, in order.

        Of more than `limit`, only the first that the kernel tells.
        """
        with self._entries(name) as entries:
            return _numbers(islice(entries, limit))

    def names(self, name: str, limit: int = MAX_NAMES) -> list[str]:
        """Return the entries of the directory `name`, no more than `limit` of them."""
        with self._entries(name) as entries:
            return sorted(islice(entries, limit))

    def other_threads(self, limit: int) -> list[int]:
        """Return the numbers of its threads but the first, whose folder is its own; of no more
        than `limit` in all."""
        return [number for number in self.numbers("task", limit) if number != self.pid]

    def count(self, name: str) -> int:
        """Return how many entries of the directory `name` there are, without holding them."""
        with self._entries(name) as entries:
            return sum(1 for _ in entries)

    @contextmanager
    def _entries(self, name: str) -> Iterator[Iterator[str]]:
        folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.folder)
        try:
            with os.scandir(folder) as entries:
                yield _each(entries)
        finally:
            os.close(folder)

    @property
    def nested(self) -> bool:
        """Whether it is in a PID namespace beneath the one that this /proc is of."""
        lines = self.read("status").split(b"\n")
        return any(line.startswith(b"NSpid:") and len(line.split()) > 2 for line in lines)

    @property
    def parent(self) -> int:
        """The process that it is a child of; 0 where that is out of sight."""
        lines = self.read("status").split(b"\n")
        return next(int(line.split()[1]) for line in lines if line.startswith(b"PPid:"))

    @property
    def numbered(self) -> int:
        """Its number in its own PID namespace."""
        lines = self.read("status").split(b"\n")
        found = [line.split()[-1] for line in lines if line.startswith(b"NSpid:")]
        return int(found[0]) if found else self.pid

    @property
    def owner(self) -> int:
        """The user that it acts for, as the machine numbers it."""
        lines = self.read("status").split(b"\n")
        # Real, effective, saved, file system: rights are checked by the second.
        return next(int(line.split()[2]) for line in lines if line.startswith(b"Uid:"))

    def cgroups(self) -> dict[str, str]:
        """Return the path of each hierarchy's cgroup; version 2's own hierarchy is the key ''.

        Bytes that are not UTF-8 are surrogates, as in `os.fsdecode`.
        """
        lines = self.read("cgroup").decode(errors="surrogateescape").split("\n")
        # `4:memory:/path`: the path may have colons of its own.
        fields = (line.split(":", 2) for line in lines)
        return {row[1]: row[2] for row in fields if len(row) == 3}


def read_link(name: str, folder: int | None = None) -> bytes:
    """Return where a symbolic link of /proc leads to, or `LONG_PATH`. Raises `OSError`."""
    try:
        return os.readlink(os.fsencode(name), dir_fd=folder)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return LONG_PATH


def pids(proc: Path | None = None) -> list[int]:
    """Return the numbers of all processes there are, in order."""
    return _numbers(entry.name for entry in (proc or host_proc()).iterdir())


def _living_thread(base: Path, pid: int, folder: int) -> int | None:
    """Open a thread that stands for a process whose first one has ended; None if it has not.

    It is opened by its own number: in `task` it has no `map_files`.
    """
    with suppress(OSError):
        if not _has_ended(folder):
            return None
        with os.scandir(f"/proc/self/fd/{folder}/task") as entries:
            numbers = [entry.name for entry in islice(entries, MAX_TRIED)]
        for number in numbers:
            with suppress(OSError):
                thread = os.open(base / number, _FOLDER)
                if _is_thread_of(thread, pid) and not _has_ended(thread):
                    return thread
                os.close(thread)
    return None


def _has_ended(folder: int) -> bool:
    """Whether a thread is a zombie. Its own memory is the first thing to go."""
    try:
        os.readlink("exe", dir_fd=folder)
    except FileNotFoundError:
        stat = _little(folder, "stat")
        return stat.rpartition(b")")[2].split()[:1] in ([b"Z"], [b"X"])
    return False


def _is_thread_of(folder: int, pid: int) -> bool:
    return b"\nTgid:\t%d\n" % pid in _little(folder, "status")


def _little(folder: int, name: str) -> bytes:
    with _opened(folder, name) as file:
        return file.read(_STEP)


def _opened(folder: int, name: str) -> io.FileIO:
    """Open a file of /proc. A directory is an `OSError`, and leaves no descriptor behind."""
    return io.FileIO(name, "rb", opener=lambda path, flags: os.open(path, flags, dir_fd=folder))


def _each(entries: Iterable[os.DirEntry[str]]) -> Iterator[str]:
    for entry in entries:
        raise_if_abandoned()
        yield entry.name


def _numbers(names: Iterable[str]) -> list[int]:
    return sorted(int(name) for name in names if name.isdigit())


class Boundary:
    """What makes a process one of the container `key` whose first process is `pid`.

    They share its cgroup, or lie in one beneath it, or in its PID namespace where that is not the
    machine's, or in one beneath that: who may write to cgroups can leave one, but not a namespace.
    Or they see what it has mounted, in its own mount namespace.
    Its cgroup is the one that is named after it: its first process may have gone on to one beneath.

    Raises `OSError` where there is no such process.
    """

    def __init__(self, pid: int, key: str = "", proc: Path | None = None) -> None:
        self._proc = proc
        with Process.open(pid, proc) as first:
            paths = {name: _up_to(path, key) for name, path in first.cgroups().items()}
            self._spaces = dict[bytes, bool]()
            with suppress(PermissionError):  # the cgroups have to do
                self._spaces[first.link("ns/pid")] = True
            self.shares = not first.nested
            """Whether it has the machine's PID namespace."""
            self._mounts = b""
            with suppress(OSError):
                self._mounts = first.link("ns/mnt")
        if self._mounts == machine_space("mnt", proc):
            self._mounts = b""
        self.groups = {name: path for name, path in paths.items() if path.strip("/.")}
        """The container's cgroup in each hierarchy that has one for it."""

    def holds(self, process: Process) -> bool:
        """Whether a process is the container's. Raises `OSError` where it has ended."""
        if _within(process.cgroups(), self.groups):
            return True
        if self._spaces and not self.shares and _descends(process, self._spaces, self._proc):
            return True
        with suppress(PermissionError):
            return bool(self._mounts) and process.link("ns/mnt") == self._mounts
        return False


def companions(pid: int, key: str = "", proc: Path | None = None) -> list[int]:
    """Return the processes within the `Boundary` of the container `key`, as /proc lists them."""
    boundary, found = Boundary(pid, key, proc), []
    for other in pids(proc):
        with suppress(OSError), Process.open(other, proc) as process:
            if boundary.holds(process):
                found.append(other)
    return found


def _descends(process: Process, known: dict[bytes, bool], proc: Path | None) -> bool:
    """Whether a process is in a PID namespace that is known to be the container's, or beneath.

    The kernel is not asked which lies in which: it tells only those further out. But the parents of
    a process lead through its namespace to the one around it, whoever of them has ended.
    """
    space = process.link("ns/pid")
    if space not in known:
        known[space] = process.nested and _leads_to(process.parent, known, proc)
    return known[space]


def _leads_to(pid: int, known: dict[bytes, bool], proc: Path | None) -> bool:
    """Whether the first known namespace that parents lead to is the container's."""
    with suppress(OSError):
        for _ in range(_LONGEST_LINE):
            with Process.open(pid, proc) as process:
                space, pid = process.link("ns/pid"), process.parent
                if space in known or not pid:
                    return known.get(space, False)
    return False


def machine_network() -> bytes:
    """Return the network namespace of the machine itself."""
    return machine_space("net")


def machine_space(kind: str, proc: Path | None = None) -> bytes:
    """Return a namespace of the machine itself: `net`, `mnt`.

    Its first process may refuse to be looked at; the second is the kernel's own. Where neither is
    shown, ours has to do.
    """
    base = proc or host_proc()
    for folder in (base / "1", base / "2", Path("/proc/self")):
        with suppress(OSError):
            return os.fsencode((folder / "ns" / kind).readlink())
    return b""


def _up_to(path: str, key: str) -> str:
    """Return a path up to the part that holds `key`; all of it where none does."""
    head, found, rest = path.rpartition(key) if key else (path, "", "")
    return head + found + rest.partition("/")[0] if found else path


def _within(own: dict[str, str], groups: dict[str, str]) -> bool:
    return any(
        own.get(name) == path or own.get(name, "").startswith(path + "/")
        for name, path in groups.items()
    )
