"""Stopping threads by `ptrace`, which they cannot see as a signal, and reading their registers.

All calls must come from one thread: tracees belong to it, and go on when it ends, however.

Source: ptrace(2), waitid(2)
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_SEIZE, _INTERRUPT, _DETACH, _GETREGSET = 0x4206, 0x4207, 17, 0x4204
# NT_PRSTATUS and NT_PRFPREG, as notes of a core file are called.
_GENERAL, _FLOATING = 1, 2
_WALL = 0x40000000
_ROOM = 4096
"""Bytes that one set of registers may have."""
_PAUSE = 0.0005
"""Seconds between two looks at threads that have not stopped yet."""


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.restype = ctypes.c_long


def _ptrace(request: int, thread: int, address: int = 0, data: int = 0) -> None:
    numbers = (ctypes.c_long(each) for each in (request, thread))
    places = (ctypes.c_void_p(each) for each in (address, data))
    if _LIBC.ptrace(*numbers, *places) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@dataclass(slots=True)
class Tracees:
    """The threads of one process, seized."""

    tasks: Path
    """Its folder of threads in /proc."""
    limit: int
    """Threads that are seized at most."""
    threads: int = 0
    """That there are."""
    error: int = 0
    """Why the first that could not be seized could not."""
    seen: set[int] = field(default_factory=set)
    """Those that were tried, zombies too."""
    waiting: set[int] = field(default_factory=set)
    """Those that were told to stop and have not yet."""
    stopped: dict[int, int] = field(default_factory=dict)
    """Each with the signal that it was about to get, or 0."""

    def stop(self, seconds: float) -> None:
        """Seize all threads, those that are made meanwhile too, and wait until they stand still.

        After `seconds` it goes on with those that do.
        """
        until = time.monotonic() + seconds
        # Those that still run may make others, until all of them stand still.
        while new := self._new():
            for thread in new:
                self._seize(thread)
            while self.waiting and time.monotonic() < until:
                self._look()
                if self.waiting:
                    time.sleep(_PAUSE)
            if time.monotonic() >= until or self.error:
                return

    def _new(self) -> list[int]:
        with suppress(OSError):
            there = [int(entry.name) for entry in os.scandir(self.tasks)]
            self.threads = len(there)
            new = [one for one in there if one not in self.seen]
            return new[: max(self.limit - len(self.seen), 0)]
        return []

    def _seize(self, thread: int) -> None:
        self.seen.add(thread)
        try:
            # ATTACH would send a SIGSTOP, which its parent hears of, and which outlives a tracer.
            _ptrace(_SEIZE, thread)
            self.waiting.add(thread)
            _ptrace(_INTERRUPT, thread)
        except OSError as error:
            if error.errno != errno.ESRCH and not self._ended(thread):
                self.error = self.error or error.errno or errno.EPERM

    def _ended(self, thread: int) -> bool:
        """Whether it is a zombie, as the first thread can be while others go on."""
        with suppress(OSError):
            stat = (self.tasks / str(thread) / "stat").read_bytes()
            return stat.rpartition(b")")[2].split()[:1] in ([b"Z"], [b"X"])
        return True

    def _look(self) -> None:
        for thread in [*self.waiting]:
            self._look_at(thread)

    def _look_at(self, thread: int) -> None:
        options = os.WSTOPPED | os.WEXITED | os.WNOHANG | _WALL
        try:
            # WNOWAIT: a signal that it was about to get stays with it, should we be killed.
            found = os.waitid(os.P_PID, thread, options | os.WNOWAIT)
        except ChildProcessError:
            self.waiting.discard(thread)
            return
        if found is None:
            return
        self.waiting.discard(thread)
        if found.si_code in {os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED}:
            # It stays a zombie until we have heard of it.
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, thread, options)
            return
        # Above the signal is PTRACE_EVENT_STOP where it is our interruption that stopped it.
        event, signal = found.si_status >> 8, found.si_status & 0x7F
        self.stopped[thread] = 0 if event else signal

    def registers(self) -> Iterable[tuple[int, bytes, bytes]]:
        """Yield the general and floating point registers of each thread that stands still."""
        for thread in self.stopped:
            with suppress(OSError):
                yield thread, _registers(thread, _GENERAL), _floating(thread)

    def release(self) -> bool:
        """Let all that stand still go on; return whether none is left.

        One that has not stopped yet, or was killed meanwhile, is let go by nothing but our end: a
        parent would wait for it in vain until then.
        """
        left = len(self.waiting)
        for thread, signal in self.stopped.items():
            try:
                _ptrace(_DETACH, thread, 0, signal)
            except OSError:
                left += 1
        self.stopped.clear()
        return not left


def _registers(thread: int, kind: int) -> bytes:
    room = ctypes.create_string_buffer(_ROOM)
    into = _Iovec(ctypes.addressof(room), _ROOM)
    _ptrace(_GETREGSET, thread, kind, ctypes.addressof(into))
    return room.raw[: into.size]


def _floating(thread: int) -> bytes:
    with suppress(OSError):
        return _registers(thread, _FLOATING)
    return b""
