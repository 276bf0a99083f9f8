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

from collector.documents import portable, strings
from collector.files.mounttable import holder
from collector.node.abandonable import raise_if_abandoned
from collector.node.procfs import Process
from collector.recording.elsewhere import OtherNamespaces
from collector.recording.fanotify import Event, Fanotify
from collector.recording.journal import EventJournal
from collector.recording.members import ContainerProcesses
from collector.recording.mounts import WatchedMounts
from collector.recording.proc_events import ProcEvent, ProcEventKind, ProcEvents
from collector.recording.sockets import SocketWatch
from collector.recording.writes import Writes

_ARGUMENTS = 4096
"""Bytes of a process's arguments that are kept."""
_BURSTS = 64
"""Buffers of one source that are read before the others' turn comes."""
_LAST = 64
"""Times that all sources are read at the end: the kernel's queues hold less."""
_LATEST = 2.0
"""Seconds that the kernel may take to tell of the last sockets that ended."""
_WAIT = 100
"""Milliseconds that nothing may happen before it is looked whether it is over."""
_AGAIN = 0.01
"""Seconds between two looks at mounts that change all the time."""


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
    same_pid_namespace: bool = True
    """Whether the kernel numbers processes for us as /proc does; else it tells none with files."""
    mounts: WatchedMounts = field(default_factory=WatchedMounts)
    """Those that the first process sees."""
    elsewhere: OtherNamespaces = field(default_factory=OtherNamespaces)
    """Namespaces of its processes in which mounts, or sockets, are not watched."""
    failures: dict[str, OSError] = field(default_factory=dict)
    """Sources that gave up, and why."""
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
            self.mounts.mark(self.files, process)
            self.elsewhere.begin(process)

    def close(self) -> None:
        """Give back what is open. Not while it runs: somebody else may have its numbers by then."""
        self.writes.close()
        for source in (self.files, self.processes):
            if source:
                source.close()
        for sockets in self.sockets:
            sockets.close()
        self.mounts.close()

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
            told = waiting.poll(_AGAIN * 1000 if self.mounts.is_stale else _WAIT)
            self.mounts.note_change(file for file, _ in told)
            self._round(time.monotonic())
        self._read_rest(waiting)

    def _read_rest(self, waiting: poll) -> None:
        """Read what waits by now, and not what goes on coming."""
        self._next = 0.0
        for sockets in self.sockets:
            sockets.next = 0.0
            if sockets.notices:
                sockets.notices.expire()
        rounds, end = 0, time.monotonic() + _LATEST
        while True:
            self._round(time.monotonic())
            waiting_still, late = [*self._waiting_still()], [*self._late()]
            rounds += 1
            if waiting_still and rounds >= _LAST:
                self.journal.unknown.update(waiting_still)
                return
            if not waiting_still and (not late or time.monotonic() >= end):
                message = f"the kernel did not tell of the last ones within {_LATEST:g} s"
                self.failures.update((name, TimeoutError(message)) for name in late)
                return
            if not waiting_still:
                waiting.poll(_WAIT)

    def _late(self) -> Iterator[str]:
        """Yield the sources of which the kernel has not told all that ended before the end."""
        for each in self.sockets:
            if each.notices and each.notices.is_late and each.end_name not in self.failures:
                yield each.end_name

    def _sources(self) -> poll:
        """Return what wakes us when something happens."""
        waiting = poll()
        waiting.register(self.writes.wake, POLLIN)
        notices = (each.notices for each in self.sockets)
        for source in (self.files, self.processes, *notices):
            if source:
                waiting.register(source.descriptor, POLLIN)
        if self.mounts.table >= 0:
            waiting.register(self.mounts.table, POLLPRI)
        return waiting

    def _waiting_still(self) -> Iterator[str]:
        """Yield the sources of which more waits than was read the last time."""
        if self.processes and not self.processes.is_dry and "processes" not in self.failures:
            yield "processes"
        if not self._files_dry:
            yield "files"
        for each in self.sockets:
            if each.notices and not each.notices.is_dry and each.end_name not in self.failures:
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
        elif self.mounts.is_stale and now >= self._remark:
            self._remark = now + _AGAIN
            try:
                self.mark()
            except OSError:  # the first process has ended, others may be there
                self.mounts.is_stale = False
        for sockets in self.sockets:
            self._try(sockets.end_name, sockets.read_events)
            if now >= sockets.next:
                self._try(f"sockets of {sockets.space}", sockets.look, self._members)

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
            self._compare_processes()

    def _compare_processes(self) -> None:
        new, gone = self.members.compare()
        for pid in new:
            self.journal.note("process", None, self._described(pid))
        for pid in gone:
            self.journal.note("gone", None, {"pid": pid})

    def _members(self) -> Iterable[int]:
        """Return the processes of the container as of now, and not of the round's beginning."""
        if self.processes is None:
            self._compare_processes()
        for _ in range(_BURSTS):
            self._try("processes", self._read_processes)
            if self.processes is None or self.processes.is_dry or "processes" in self.failures:
                break
        return self.members.known

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
        inside = self.members.holds(event.pid) if event.pid and self.same_pid_namespace else None
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
        found = holder(event.path, self.mounts.listed)
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
