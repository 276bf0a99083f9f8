"""What happens in one container, as far as the kernel tells it: everything but its packets.

Three sources, each of which may be refused: fanotify (files written, files opened to be run), the
process connector (forks, execs, exits), and looking again and again (sockets; processes, where the
kernel does not tell of them).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from select import POLLIN, POLLPRI, poll
from stat import S_ISDIR, S_ISREG

from collector.documents import portable, strings
from collector.files.mounttable import KERNEL, Mount, holder, parse_table
from collector.files.safe_open import mount_number, open_in_root, opened
from collector.node.abandonable import raise_if_abandoned
from collector.node.procfs import Process
from collector.recording.elsewhere import OtherNamespaces
from collector.recording.fanotify import Event, Fanotify
from collector.recording.journal import EventJournal
from collector.recording.members import ContainerProcesses
from collector.recording.proc_events import ProcEvent, ProcEventKind, ProcEvents
from collector.recording.sockets import SocketWatch
from collector.recording.writes import Writes

MAX_MOUNTS = 1024
"""Mounts of one container that are watched."""
MAX_DEVICES = 256
"""Devices in its /dev of which nothing is told."""
_TABLE = 8 * 1024 * 1024
_READ = os.O_RDONLY | os.O_CLOEXEC
_ARGUMENTS = 4096
"""Bytes of a process's arguments that are kept."""
_BURSTS = 64
"""Buffers of one source that are read before the others' turn comes."""
_LAST = 64
"""Times that all sources are read at the end: the kernel's queues hold less."""
_WAIT = 100
"""Milliseconds that nothing may happen before it is looked whether it is over."""
_AGAIN = 0.01
"""Seconds between two looks at mounts that change all the time."""
_REST = b"(mounts past those that the kernel's table was read to)"


@dataclass(slots=True)
class ContainerWatch:
    """One container under watch; it blocks."""

    members: ContainerProcesses
    journal: EventJournal
    writes: Writes
    interval: float
    files: Fanotify | None = None
    processes: ProcEvents | None = None
    sockets: list[SocketWatch] = field(default_factory=list)
    sees_same: bool = True
    """Whether the kernel numbers processes for us as /proc does; else it tells none with files."""
    unmarked: dict[bytes, str] = field(default_factory=dict)
    """Mounts that are not watched, and why."""
    elsewhere: OtherNamespaces = field(default_factory=OtherNamespaces)
    """Namespaces of its processes in which mounts, or sockets, are not watched."""
    failures: dict[str, OSError] = field(default_factory=dict)
    """Sources that gave up, and why."""
    _mounts: list[Mount] = field(default_factory=list)
    _marked: set[int] = field(default_factory=set)
    _table: int = -1
    """The table of mounts, open: the kernel says when it changes."""
    _within: bytes = b""
    """The mount namespace that this is the table of."""
    _stale: bool = False
    """Whether it has changed since it was read: a number of a mount may be another's by now."""
    _remark: float = 0.0
    _next: float = 0.0
    _files_dry: bool = True

    def mark(self) -> None:
        """Watch the mounts that the container's first process sees and that are not yet watched.

        Raises `OSError` where it has ended, or nothing at all can be watched.
        """
        if self.files is None:
            return
        with Process.open(self.members.first) as process:
            self._open_table(process)
            if self._stale:
                self._marked.clear()
                self._stale = False
            mounts = list(parse_table(process.read("mountinfo", _TABLE)))
            if "mountinfo" in process.cut:
                self.unmarked[_REST] = "there are too many"
            self.elsewhere.begin(process)
            root = os.open("root", os.O_PATH | os.O_CLOEXEC, dir_fd=process.folder)
            with opened(root):
                for mount in mounts:
                    if mount.number not in self._marked:
                        self._mark(self.files, mount, root)
        self._mounts = mounts
        here = {mount.number for mount in mounts}
        self._marked &= here

    def _open_table(self, process: Process) -> None:
        """Have the table open of the namespace that the first process is in by now."""
        if (within := process.link("ns/mnt")) == self._within:
            return
        table = os.open("mountinfo", _READ, dir_fd=process.folder)
        if self._table < 0:
            self._table = table
        else:  # under its number, which is what is waited for
            with opened(table):
                os.dup2(table, self._table, inheritable=False)
        self._within, self._stale = within, True

    def _mark(self, files: Fanotify, mount: Mount, root: int) -> None:
        if mount.kind in KERNEL:
            return
        if not mount.answers or len(self._marked) >= MAX_MOUNTS:
            self.unmarked[mount.point] = (
                "it may hang" if not mount.answers else "there are too many"
            )
            return
        try:
            with opened(open_in_root(root, mount.point)) as place:
                mode = os.fstat(place).st_mode
                if mount_number(place) != mount.number:
                    # Nobody comes to it by its path; but who has it open may write there.
                    self.unmarked[mount.point + b" (covered)"] = "another one covers it"
                    return
                if not (S_ISDIR(mode) or S_ISREG(mode)):
                    return
                if mount.point == b"/dev":
                    self._ignore_devices(files, place)
                self._mark_place(files, mount, place)
        except OSError as error:
            self.unmarked[mount.point] = str(error)

    def _mark_place(self, files: Fanotify, mount: Mount, place: int) -> None:
        # An overlay is the container's alone, in whichever mount namespace. Of other file systems
        # the node or others may use parts that the container does not see.
        whole = mount.kind == b"overlay" and mount.point == b"/"
        files.mark(place, whole=whole)
        self._marked.add(mount.number)
        self.unmarked.pop(mount.point, None)

    def _ignore_devices(self, files: Fanotify, place: int) -> None:
        """Leave devices alone: each event opens what it is about, and /dev/null is busy."""
        with suppress(OSError), os.scandir(f"/proc/self/fd/{place}") as entries:
            for _, entry in zip(range(MAX_DEVICES), entries, strict=False):
                if not entry.is_file(follow_symlinks=False) and not entry.is_symlink():
                    with suppress(OSError):
                        files.ignore(place, os.fsencode(entry.name))

    def close(self) -> None:
        """Give back what is open. Not while it runs: somebody else may have its numbers by then."""
        self.writes.close()
        for source in (self.files, self.processes):
            if source:
                source.close()
        for sockets in self.sockets:
            sockets.close()
        if self._table >= 0:
            os.close(self._table)
            self._table = -1

    def run(self, is_over: Callable[[], bool]) -> None:
        """Watch until it is over, then close."""
        try:
            self._run(is_over)
        finally:
            self.close()

    def _run(self, is_over: Callable[[], bool]) -> None:
        waiting = self._sources()
        self._look_at_first()
        while not is_over():
            raise_if_abandoned()
            told = waiting.poll(_AGAIN * 1000 if self._stale else _WAIT)
            self._stale |= any(file == self._table for file, _ in told)
            self._round(time.monotonic())
        # What waits by now, and not what goes on coming.
        for _ in range(_LAST):
            self._round(time.monotonic())
            if not (waiting_still := [*self._waiting_still()]):
                return
        self.journal.unknown.update(waiting_still)

    def _sources(self) -> poll:
        """Return what wakes us when something happens."""
        waiting = poll()
        waiting.register(self.writes.wake, POLLIN)
        notices = (each.notices for each in self.sockets)
        for source in (self.files, self.processes, *notices):
            if source:
                waiting.register(source.descriptor, POLLIN)
        if self._table >= 0:
            waiting.register(self._table, POLLPRI)
        return waiting

    def _waiting_still(self) -> Iterator[str]:
        """Yield the sources of which more waits than was read the last time."""
        if self.processes and not self.processes.is_dry and "processes" not in self.failures:
            yield "processes"
        if not self._files_dry:
            yield "files"
        for each in self.sockets:
            ended = f"ends of sockets of {each.space}" in self.failures
            if each.notices and not each.notices.is_dry and not ended:
                yield "sockets"

    def _round(self, now: float) -> None:
        asking = self.writes.asking()
        self._try("processes", self._read_processes)
        self._files_dry = self._try("files", self._read_files) or "files" in self.failures
        if self._files_dry and "files" not in self.failures:
            self.writes.answer(asking)
        if now >= self._next:
            self._next = now + self.interval
            self._poll_processes()
        elif self._stale and now >= self._remark:
            self._remark = now + _AGAIN
            try:
                self.mark()
            except OSError:  # the first process has ended, others may be there
                self._stale = False
        for sockets in self.sockets:
            self._try(f"ends of sockets of {sockets.space}", sockets.read_events)
            if now >= sockets.next:
                self._try(f"sockets of {sockets.space}", sockets.look, self.members.known)

    def _try(self, name: str, step: Callable[..., bool | None], *arguments: object) -> bool:
        """Take a step; a source that fails is not asked again."""
        if name in self.failures:
            return False
        try:
            return step(*arguments) is not False
        except OSError as error:
            self.failures[name] = error
            return False

    def look_elsewhere(self) -> None:
        """Note the namespaces that processes went into: what is there is watched nowhere."""
        self._look_at_first()
        self.elsewhere.look([*self.members.known])

    def _look_at_first(self) -> None:
        self.elsewhere.watched |= {each.space.encode() for each in self.sockets}
        with suppress(OSError), Process.open(self.members.first) as process:
            self.elsewhere.begin(process)

    def _poll_processes(self) -> None:
        with suppress(OSError):  # the first process has ended, others may be there
            self.mark()
        self.look_elsewhere()
        if self.processes is None:
            new, gone = self.members.compare()
            for pid in new:
                self.journal.note("process", None, self._described(pid))
            for pid in gone:
                self.journal.note("gone", None, {"pid": pid})

    def _read_processes(self) -> None:
        if self.processes is None:
            return
        for event in self.processes.read():
            self._take_process(event)

    def _take_process(self, event: ProcEvent) -> None:
        match event.what:
            case ProcEventKind.OVERFLOW:
                self.journal.unknown["processes"] += 1
                self.members.refresh()
            case ProcEventKind.FORK if self.members.forked(event.pid, event.parent):
                self.elsewhere.look_at(event.pid)
                self.journal.note("fork", None, {"pid": event.pid, "parent": event.parent})
            case ProcEventKind.EXEC if self.members.holds(event.pid):
                self.elsewhere.look_at(event.pid)
                self.journal.note("exec", None, self._described(event.pid))
            case ProcEventKind.EXIT if self.members.ended(event.pid):
                code = os.waitstatus_to_exitcode(event.status & 0xFFFF)
                told = {"signal": -code} if code < 0 else {"code": code}
                self.journal.note("exit", None, {"pid": event.pid, **told})

    def _described(self, pid: int) -> dict[str, object]:
        """Return what /proc says of a process; of one that has ended, its number."""
        told: dict[str, object] = {"pid": pid}
        with suppress(OSError, ValueError), Process.open(pid) as process:
            told["parent"], told["uid"] = process.parent, process.owner
            told["comm"] = portable(process.read("comm", 64).rstrip(b"\n"))
            arguments = process.read("cmdline", _ARGUMENTS)
            size = 0 if "cmdline" in process.cut else None
            told["cmdline"] = strings(arguments, size)
            told["exe"] = portable(process.link("exe"))
        return told

    def _read_files(self) -> bool:
        """Read what fanotify has queued; return whether that was all of it."""
        if self.files is None:
            return True
        for _ in range(_BURSTS):
            events = list(self.files.read())
            if not events:
                return True
            for event in events:
                self._take_file(event)
        return False

    def _take_file(self, event: Event) -> None:
        now = time.monotonic()
        if event.overflow:
            self.journal.unknown["files"] += 1
            self.writes.miss(now)
            return
        if event.pid == os.getpid():
            return
        inside = self.members.holds(event.pid) if event.pid and self.sees_same else None
        if event.written or event.closed:
            self._note_write(event, inside, now)
        for name, happened in (
            ("openExec", event.executed),
            ("write", event.written),
            ("closeWrite", event.closed),
        ):
            if happened:
                self.journal.note(name, (event.pid, event.path), _facts(event, inside))

    def _note_write(self, event: Event, inside: bool | None, now: float) -> None:
        found = holder(event.path, self._mounts)
        if inside is not False and event.written and found and found.point == b"/":
            self.writes.add(event.path, now)


def _facts(event: Event, inside: bool | None) -> dict[str, object]:
    facts: dict[str, object] = {"pid": event.pid or None, "path": portable(event.path)}
    if event.deleted:
        facts["deleted"] = True
    if inside is False:
        facts["outside"] = True
    return facts


def shown(points: Iterable[bytes]) -> str:
    """Return some of many mount points for a message."""
    names = sorted(points)
    some = ", ".join(str(portable(name)) for name in names[:20])
    return some + (", ..." if len(names) > 20 else "")
