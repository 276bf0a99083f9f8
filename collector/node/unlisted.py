"""What processes keep, and no table of mounts and no list of open files shows.

A file system that was unmounted lazily lives on while a process stands in it; a namespace lives on
while one has it open; a file lies in a socket's queue, or is registered with io_uring; bytes wait
in a pipe::

    found = UnlistedSearch(until=time.monotonic() + 60)
    found.look(pids)
    for kept in found.kept.values(): ...

Source: umount(2) on MNT_DETACH, namespaces(7), unix(7) on SCM_RIGHTS, io_uring_register(2), pipe(7)
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain

from collector.files.safe_open import mount_number, opened
from collector.node.borrowed import Sent, borrowed, borrowed_pipe, peek
from collector.node.deletedfiles import SharedDescriptor
from collector.node.keptplaces import hold, inode_of, memory_mount, pipes_of
from collector.node.kernel_look import Terminal
from collector.node.pipes import peek_opened, peek_pipe
from collector.node.procfs import LONG_PATH, Process, host_proc, pids

RING = b"anon_inode:[io_uring]"
"""How /proc calls a ring of io_uring."""
MAX_KEPT = 200
"""Things that are remembered; the rest are counted."""
MAX_LINKS = 256 * 1024
"""Open files, of all processes, that are looked at."""
MAX_UNREAD = 16 * 1024 * 1024
"""Bytes that wait in pipes and sockets of one container which are kept; the rest are counted."""
MAX_TABLE = 8 * 1024 * 1024
"""Bytes of one table of mounts."""
_LITTLE = 64 * 1024
_NUMBER = re.compile(rb"^mnt_id:\s*(\d+)$", re.MULTILINE)
_COUNT = re.compile(rb"^(?:scm_fds|UserFiles):\s*([1-9]\d*)$", re.MULTILINE)
_SPACE = re.compile(rb"(mnt|ipc|net):\[\d+\]")
_AREA = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) \S{4} [0-9a-f]+ ([0-9a-f]+:[0-9a-f]+ \d+) +/", re.MULTILINE
)
_ROW = re.compile(rb"^(\d+) \d+ \S+ (\S+) .* - (\S+) ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class KeptReference:
    """One thing that a process keeps."""

    how: str
    """`mount`, `namespace`, `files` or `bytes`."""
    name: bytes
    """What /proc calls it."""
    pid: int
    where: str
    """The entry of its folder in /proc."""
    count: int = 1
    """Files, or bytes."""
    held: SharedDescriptor | None = None
    """Of a mount, the place on it, open without a right to read it."""
    folder: bool = False
    """Whether that place is a directory."""
    data: bytes = b""
    """Bytes that wait, as many as could be had, from the first on."""
    files: tuple[Sent, ...] = ()
    """Files in a socket, as many as could be had."""
    inode: int = 0
    """Of a pipe that has a name."""


@dataclass(slots=True)
class UnlistedSearch:
    """A search through a container's processes; it blocks, and is meant for a thread."""

    until: float
    """When it gives up, by the monotonic clock."""
    kept: dict[tuple[str, bytes], KeptReference] = field(default_factory=dict)
    more: int = 0
    """Things past `most`."""
    unseen: list[int] = field(default_factory=list)
    """Processes that were not looked at wholly."""
    links: int = MAX_LINKS
    most: int = MAX_KEPT
    """Things that are remembered."""
    max_table: int = MAX_TABLE
    streams: int = 0
    """Sockets of which it is not known what waits in them, and terminals past `MAX_KEPT`."""
    terminals: list[Terminal] = field(default_factory=list)
    """Those that are open, to be looked into."""
    room: int = MAX_UNREAD
    """Bytes that wait unread which are still kept."""
    _mounts: set[bytes] = field(default_factory=set)
    _tables: set[tuple[bytes, bytes]] = field(default_factory=set)
    _roots: dict[bytes, set[bytes]] = field(default_factory=dict)
    """The roots that processes of a mount namespace have."""
    _pipes: set[bytes] = field(default_factory=set)
    """Pipes and sockets that were looked into."""
    _all: bool = False
    _spaces: dict[bytes, KeptReference] = field(default_factory=dict)

    def look(self, numbers: Iterable[int]) -> None:
        """Look at these processes, and threads; one that ends meanwhile keeps nothing."""
        numbers = [*numbers]
        self._mounts.add(memory_mount())
        for number in chain(numbers, (1,), (os.getpid(),)):
            with suppress(OSError), Process.open(number) as process:
                self._read_table(process, ours=number in numbers)
                self._pass_by_streams(process, numbers)
        for number in numbers:
            try:
                with Process.open(number) as process:
                    self._process(process)
            except PermissionError:
                self.unseen.append(number)
            except OSError:
                continue
        self._judge_spaces()
        self._drop_parts()

    def _drop_parts(self) -> None:
        """Of a file system that a directory leads to, forget the files: they are in it."""
        whole = {key[1] for key, kept in self.kept.items() if kept.how == "mount" and kept.folder}
        for key, kept in [*self.kept.items()]:
            if kept.how == "mount" and not kept.folder and key[1].partition(b" ")[0] in whole:
                del self.kept[key]

    def _pass_by_streams(self, process: Process, numbers: Sequence[int]) -> None:
        """Look into no pipe that leads to the runtime, which reads a container's output anyhow:
        who started a process from outside has the other end."""
        if process.pid in numbers and process.parent not in numbers:
            theirs = pipes_of(process.parent)
            for name in ("fd/0", "fd/1", "fd/2"):
                with suppress(FileNotFoundError):
                    if (link := process.link(name)) in theirs:
                        self._pipes.add(link)

    def _read_table(self, process: Process, *, ours: bool) -> None:
        seen = process.link("ns/mnt"), process.link("root")
        if seen in self._tables:
            return
        self._tables.add(seen)
        if ours:
            self._roots.setdefault(seen[0], set()).add(seen[1])
        table = process.read("mountinfo", self.max_table)
        if ours and "mountinfo" in process.cut:
            self.unseen.append(process.pid)
        for number, root, kind in _ROW.findall(table):
            self._mounts.add(number)
            # Of a network nobody is in there are settings only.
            if ours and kind == b"nsfs" and root.startswith((b"mnt:", b"ipc:")):
                self._spaces.setdefault(
                    root, KeptReference("namespace", root, process.pid, "mountinfo")
                )

    def _process(self, process: Process) -> None:
        for name in ("cwd", "root", "exe"):
            with suppress(OSError):
                self._judge_place(process, name)
        for name in self._mapped(process):
            if self._is_over(process):
                return
            with suppress(FileNotFoundError, ProcessLookupError):
                self._judge_place(process, name)
        for name in self._open_files(process):
            if self._is_over(process):
                return
            with suppress(OSError):
                self._open_file(process, name)

    def _is_over(self, process: Process) -> bool:
        """Count one more link, and note the process if that is one too many."""
        self.links -= 1
        over = self.links < 0 or time.monotonic() > self.until
        if over:
            self.unseen.append(process.pid)
        return over

    def _judge_place(self, process: Process, name: str) -> None:
        link, flags = process.link(name), os.O_PATH | os.O_CLOEXEC
        with opened(os.open(name, flags, dir_fd=process.folder)) as place:
            self._judge_mount(process, link, name, b"%d" % mount_number(place))

    def _mapped(self, process: Process) -> list[str]:
        """Return where files are mapped, each file once; what is deleted is looked at elsewhere."""
        found: dict[bytes, str] = {}
        with suppress(FileNotFoundError, ProcessLookupError):
            table = process.read("maps", self.max_table)
            if "maps" in process.cut:
                self.unseen.append(process.pid)
            for start, end, file in _AREA.findall(table):
                found.setdefault(file, f"map_files/{int(start, 16):x}-{int(end, 16):x}")
        return list(found.values())

    def _open_files(self, process: Process) -> Iterator[str]:
        threads = process.other_threads(max(self.links, 0) + 1)
        for folder in ("", *(f"task/{number}/" for number in threads)):
            with suppress(FileNotFoundError, ProcessLookupError):
                place = os.open(
                    f"{folder}fd",
                    os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC,
                    dir_fd=process.folder,
                )
                with opened(place), os.scandir(place) as entries:
                    yield from (f"{folder}fd/{entry.name}" for entry in entries)

    def _open_file(self, process: Process, name: str) -> None:
        link = process.link(name)
        if _SPACE.fullmatch(link):
            self._spaces.setdefault(link, KeptReference("namespace", link, process.pid, name))
            return
        if link.startswith(b"pipe:["):
            self._open_pipe(process, name, link)
        elif link.startswith(b"socket:["):
            self._open_socket(process, name, link)
        elif link.startswith((b"/", LONG_PATH)):
            if stat.S_ISFIFO(os.stat(name, dir_fd=process.folder).st_mode):
                self._open_fifo(process, name, link)
            if link.startswith((b"/dev/pts/", b"/dev/ptmx")):
                self._note_terminal(process, name, link)
            said = process.read(name.replace("fd/", "fdinfo/"), _LITTLE)
            match = _NUMBER.search(said)
            self._judge_mount(process, link, name, match[1] if match else b"")
        elif link.startswith(RING):
            self._note_files(process, name, link, [])

    def _note_terminal(self, process: Process, name: str, link: bytes) -> None:
        if len(self.terminals) < MAX_KEPT:
            inode = os.stat(name, dir_fd=process.folder).st_ino
            self.terminals.append(Terminal(process.pid, name, link, inode))
        else:
            self.streams += 1

    def _note_files(self, process: Process, name: str, link: bytes, files: list[Sent]) -> None:
        said = process.read(name.replace("fd/", "fdinfo/"), _LITTLE)
        if match := _COUNT.search(said):
            kept = KeptReference(
                "files", link, process.pid, name, int(match[1]), files=tuple(files)
            )
            self._keep(kept, link)

    def _open_pipe(self, process: Process, name: str, link: bytes) -> None:
        if link in self._pipes:
            return
        self._pipes.add(link)
        with opened(os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=process.folder)) as place:
            found = peek_pipe(place, inode_of(link), self.room)
        self._note_bytes(process, name, link, found.size, found.data)

    def _open_fifo(self, process: Process, name: str, link: bytes) -> None:
        """Look into a pipe with a name by what its process has open: opened anew, it would let
        somebody go on who waits for that."""
        found = os.stat(name, dir_fd=process.folder)
        key = b"fifo:[%d:%d]" % (found.st_dev, found.st_ino)
        if key in self._pipes:
            return
        try:
            with borrowed_pipe(process, name, found.st_ino) as pipe:
                waiting = peek_opened(pipe, self.room)
        except OSError:
            self.streams += 1
            return
        # The end for writing tells only how much there is: the other one may follow.
        if waiting.data:
            self._pipes.add(key)
            self.kept.pop(("bytes", key), None)
        if waiting.size:
            self.room -= len(waiting.data)
            kept = KeptReference("bytes", link, process.pid, name, waiting.size, data=waiting.data)
            self._keep(replace(kept, inode=found.st_ino), key)

    def _open_socket(self, process: Process, name: str, link: bytes) -> None:
        if link in self._pipes:
            return
        self._pipes.add(link)
        found, files = None, list[Sent]()
        with suppress(OSError), borrowed(process, name, inode_of(link)) as socket:
            found = peek(socket, self.room)
        self.streams += found is None or found.hides
        if found:
            files = found.files
            self._note_bytes(process, name, link, found.size, found.data)
        self._note_files(process, name, link, files)

    def _note_bytes(self, process: Process, name: str, link: bytes, size: int, data: bytes) -> None:
        if size:
            self.room -= len(data)
            self._keep(KeptReference("bytes", link, process.pid, name, size, data=data), link)

    def _judge_mount(self, process: Process, link: bytes, name: str, number: bytes) -> None:
        known = ("mount", number), ("mount", number + b" " + link)
        if not number or number in self._mounts or any(key in self.kept for key in known):
            return
        if self._is_confined(process):
            return
        if len(self.kept) >= self.most:
            self.more += 1
            return
        # It may be of this moment, or of a namespace of the machine's.
        self._tables.clear()
        self._read_table(process, ours=True)
        if number not in self._mounts:
            self._read_all()
        if number not in self._mounts and not self._is_confined(process):
            held, folder = hold(process, name, number)
            kept = KeptReference("mount", link, process.pid, name, held=held, folder=folder)
            self._keep(kept, known[not folder][1])

    def _is_confined(self, process: Process) -> bool:
        """Whether all processes of its mount namespace have a directory for their root: what is
        mounted outside of it is in no table, and a gap says so."""
        return b"/" not in self._roots.get(process.link("ns/mnt"), {b"/"})

    def _read_all(self) -> None:
        """Read the tables of all namespaces of the machine, once."""
        for number in [] if self._all else pids():
            if time.monotonic() < self.until:
                with suppress(OSError), Process.open(number) as process:
                    self._read_table(process, ours=False)
        self._all = True

    def _judge_spaces(self) -> None:
        """Keep the namespaces that no process of the whole machine is in."""
        if not self._spaces:
            return
        lived: set[bytes] = set()
        for number in pids():
            for kind in ("mnt", "ipc", "net"):
                with suppress(OSError):
                    lived.add(os.fsencode((host_proc() / str(number) / "ns" / kind).readlink()))
        for space, kept in self._spaces.items():
            if space not in lived:
                self._keep(kept, space)

    def _keep(self, kept: KeptReference, key: bytes) -> None:
        if (kept.how, key) in self.kept:
            return
        if len(self.kept) >= self.most:
            self.more += 1
        else:
            self.kept[kept.how, key] = kept
