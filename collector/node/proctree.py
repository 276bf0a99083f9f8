"""A tree like /proc of a container's processes and their ancestors, as members of a pax archive.

::

    tree = ProcTree(contents)
    for pid in pids:
        for block in tree.process(pid): ...

What was read for `processes.json` is in `contents` and is not read again; the rest is read here. A
process that has ended since has what was read by then. It blocks, and is meant for a thread.

Source: proc(5)
"""

from __future__ import annotations

import errno
import os
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from collector.documents import BoundedNames
from collector.files import pax
from collector.node.abandonable import raise_if_abandoned
from collector.node.openfiles import MAX_DESCRIPTORS, MAX_INFO
from collector.node.process_row import LITTLE, MAX_STRINGS
from collector.node.procfs import MAX_BYTES, Process

MAX_TREE = 256 * 1024 * 1024
"""Bytes of all files of one archive; after that each has a little."""
MAX_THREADS = 2048
"""Threads of one process that are in the archive; `processes.json` lists more of them."""
MAX_ENTRIES = 64 * 1024
"""Threads, and open files, of all processes together."""
_FILES = (
    *("stat", "status", "comm", "cmdline", "environ", "auxv", "maps", "mountinfo", "mounts"),
    *("limits", "io", "cgroup", "stack", "wchan", "syscall", "loginuid", "sessionid"),
    *("oom_score_adj", "uid_map", "gid_map", "attr/current"),
)
_ANCESTORS_FILES = ("stat", "status", "comm", "cmdline", "loginuid")
"""What tells which processes of the node led to the container's."""
_LINKS = ("exe", "cwd", "root")
_THREADS_FILES = ("stat", "status", "comm", "children")
_LIMITS = {"cmdline": MAX_STRINGS, "environ": MAX_STRINGS}
_NOT_THERE = frozenset(
    {errno.ENOENT, errno.ESRCH, errno.EINVAL, errno.EOPNOTSUPP, errno.EISDIR, errno.ENODATA}
)
"""What the kernel says of a file that it, or this process, does not have."""


@dataclass
class ProcTree:
    """The archive under way."""

    contents: Mapping[int, Mapping[str, bytes]] = field(default_factory=dict)
    """What is known of processes, by the names beneath their folder."""
    left: int = MAX_TREE
    little: int = LITTLE
    """Bytes of each file after that."""
    threads: int = MAX_THREADS
    """Threads of one process."""
    entries: int = MAX_ENTRIES
    refused: dict[str, dict[str, None]] = field(default_factory=dict)
    """Sorts of files that could not be read, by why; in order."""
    refusing: BoundedNames = field(default_factory=BoundedNames)
    """Processes of which some could not."""
    cut: BoundedNames = field(default_factory=BoundedNames)
    """Files that are not there as a whole."""
    crowded: BoundedNames = field(default_factory=BoundedNames)
    """Folders of which not all entries are there."""
    _networks: dict[bytes, int] = field(default_factory=dict)
    """The process that has the tables of a network namespace."""
    _last: str = ""
    _now: int = field(default_factory=lambda: int(time.time()))

    def folder(self, name: str, owner: tuple[int, int] = (0, 0)) -> bytes:
        """Return a directory `name` of the tree."""
        where = os.fsencode(f"proc/{name}".rstrip("/"))
        return pax.plain(where, tarfile.DIRTYPE, mode=0o555, owner=owner, mtime=self._now)

    def file(self, name: str, content: bytes, owner: tuple[int, int] = (0, 0)) -> bytes:
        """Return a file `name` of the tree."""
        self.left -= len(content)
        head = pax.plain(
            os.fsencode(f"proc/{name}"),
            tarfile.REGTYPE,
            len(content),
            owner=owner,
            mtime=self._now,
        )
        return head + content + pax.padding(len(content))

    def link(self, name: str, target: bytes, owner: tuple[int, int] = (0, 0)) -> bytes:
        """Return a symbolic link `name` of the tree."""
        where = os.fsencode(f"proc/{name}")
        return pax.plain(
            where, tarfile.SYMTYPE, mode=0o777, owner=owner, mtime=self._now, target=target
        )

    def process(self, pid: int) -> Iterator[bytes]:
        """Yield all of a process; nothing of one that is not there and was not read before."""
        known = self.contents.get(pid, {})
        with ExitStack() as stack:
            process: Process | None = None
            with suppress(OSError):
                process = stack.enter_context(Process.open(pid))
            if process and known and not _is_same(process, known):
                process = None
            if process or known:
                yield from _ProcessFolder(self, pid, process, known).members(self._networks)

    def refuse(self, name: str, error: OSError, whose: str) -> None:
        """Note what of whom could not be read, unless it is not there."""
        if error.errno not in _NOT_THERE:
            sort = "/".join("N" if part.isdigit() else part for part in name.split("/"))
            self.refused.setdefault(error.strerror or str(error), {})[sort] = None
            if whose != self._last:
                self.refusing.add(f"/proc/{whose}")
            self._last = whose

    def ancestor(self, pid: int) -> Iterator[bytes]:
        """Yield the little of a process that tells who it is.

        Its environment is none of the container's. An empty file stands in its place, without which
        readers of a whole /proc stumble.
        """
        with suppress(OSError), Process.open(pid) as process:
            folder = _ProcessFolder(self, pid, process, {})
            yield self.folder(str(pid))
            for name in _ANCESTORS_FILES:
                yield from folder.file(name)
            yield self.file(f"{pid}/environ", b"")


def _is_same(process: Process, known: Mapping[str, bytes]) -> bool:
    """Whether a number still means the process that was read: its start never changes."""
    with suppress(OSError, IndexError):
        return _start(process.read("stat")) == _start(known["stat"]) if "stat" in known else True
    return False


def _start(stat: bytes) -> bytes:
    # The name, in brackets, may hold blanks and brackets itself; what follows it is field 3.
    return stat.rpartition(b")")[2].split()[19]


class _ProcessFolder:
    """The folder of one process."""

    def __init__(
        self, tree: ProcTree, pid: int, process: Process | None, known: Mapping[str, bytes]
    ) -> None:
        self._tree, self._pid, self._process, self._known = tree, pid, process, known
        self._owner = (0, 0)
        if process:
            with suppress(OSError):
                found = os.fstat(process.folder)
                self._owner = found.st_uid, found.st_gid

    def members(self, networks: dict[bytes, int]) -> Iterator[bytes]:
        """Yield the folder and all in it."""
        yield self._tree.folder(str(self._pid), self._owner)
        for name in _FILES:
            if "/" in name:
                yield self._tree.folder(f"{self._pid}/{name.rpartition('/')[0]}", self._owner)
            yield from self.file(name)
        for name in _LINKS:
            yield from self._link(name)
        yield from self._links("ns", self._names("ns"))
        descriptors = self._numbers("fd", MAX_DESCRIPTORS)
        yield from self._links("fd", descriptors)
        yield self._tree.folder(f"{self._pid}/fdinfo", self._owner)
        for name in descriptors:
            yield from self.file(f"fdinfo/{name}", MAX_INFO)
        yield from self._threads()
        yield from self._network(networks)

    def file(self, name: str, limit: int = MAX_BYTES) -> Iterator[bytes]:
        """Yield a file of the process, if it can be read."""
        raise_if_abandoned()
        if (content := self._known.get(name)) is None:
            content = self._attempt(name, lambda process: self._read(process, name, limit))
        if content is not None:
            yield self._tree.file(f"{self._pid}/{name}", content, self._owner)

    def _read(self, process: Process, name: str, limit: int) -> bytes:
        limit = min(
            limit, _LIMITS.get(name, limit), limit if self._tree.left > 0 else self._tree.little
        )
        cuts = len(process.cut)
        content = process.read(name, limit)
        if len(process.cut) > cuts:
            self._tree.cut.add(f"/proc/{self._pid}/{name}")
        return content

    def _attempt(self, name: str, action: Callable[[Process], bytes]) -> bytes | None:
        """Return what a process says; None where it does not, which is noted if it refuses to."""
        if self._process is None:
            return None
        try:
            return action(self._process)
        except OSError as error:
            self._tree.refuse(name, error, str(self._pid))
        return None

    def _link(self, name: str) -> Iterator[bytes]:
        if (target := self._known.get(name)) is None:
            target = self._attempt(name, lambda process: process.link(name))
        if target is not None:
            yield self._tree.link(f"{self._pid}/{name}", target, self._owner)

    def _links(self, folder: str, names: list[str]) -> Iterator[bytes]:
        yield self._tree.folder(f"{self._pid}/{folder}", self._owner)
        for name in names:
            yield from self._link(f"{folder}/{name}")

    def _names(self, folder: str) -> list[str]:
        """Return the names in a folder that is the same for every process."""
        names = {name.rpartition("/")[2] for name in self._known if name.startswith(f"{folder}/")}
        with suppress(OSError):
            if self._process:
                names |= {*self._process.names(folder)}
        return sorted(names)

    def _numbers(self, folder: str, limit: int) -> list[str]:
        """Return the numbers in a folder, no more than there is room for."""
        limit = max(min(limit, self._tree.entries), 0)
        known = [name.rpartition("/")[2] for name in self._known if name.startswith(f"{folder}/")]
        if known:
            names = known[:limit]
            crowded = len(known) > limit
        else:
            numbers = self._list(folder, limit + 1)
            names, crowded = [str(number) for number in numbers[:limit]], len(numbers) > limit
        if crowded:
            self._tree.crowded.add(f"/proc/{self._pid}/{folder}")
        self._tree.entries -= len(names)
        return names

    def _list(self, folder: str, limit: int) -> list[int]:
        found: list[int] = []

        def take(process: Process) -> bytes:
            found.extend(process.numbers(folder, limit))
            return b""

        self._attempt(folder, take)
        return found

    def _threads(self) -> Iterator[bytes]:
        yield self._tree.folder(f"{self._pid}/task", self._owner)
        for number in self._numbers("task", self._tree.threads):
            yield self._tree.folder(f"{self._pid}/task/{number}", self._owner)
            for name in _THREADS_FILES:
                yield from self.file(f"task/{number}/{name}")

    def _network(self, networks: dict[bytes, int]) -> Iterator[bytes]:
        """Yield the tables of the network; of those who share a namespace the first has them."""
        space = self._known.get("ns/net") or self._attempt("net", lambda one: one.link("ns/net"))
        if not space or self._process is None:
            return
        if space in networks:
            target = b"../%d/net" % networks[space]
            yield self._tree.link(f"{self._pid}/net", target, self._owner)
            return
        networks[space] = self._pid
        yield self._tree.folder(f"{self._pid}/net", self._owner)
        for name in self._names("net"):
            yield from self.file(f"net/{name}")
