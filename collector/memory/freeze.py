"""Holding one process still while its memory is read, and never longer than was said.

By `ptrace` where the kernel lets us: all its threads stop, with their registers, and neither the
process nor its parent gets a signal. Else its container is paused by the runtime, as by `--pause`::

    async with freezing(runtime, container, seconds=2) as freezer:
        async with freezer.held(process) as held:
            held.threads
            await held.release()     # as soon as all is read
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import anyio
from anyio import to_thread
from anyio.streams.buffered import BufferedByteReceiveStream

from collector.memory.elf import Thread
from collector.memory.tracer import GOING, HEAD, RECORD
from collector.node.procfs import Process, host_proc
from collector.pausing.pause import LIMIT, paused
from collector.runtimes.runtime import ContainerInfo, Runtime, Unavailable
from forensics_core._internal import children

SECONDS = 2.0
"""For which one process is held at most."""
MAX_THREADS = 10_000
"""Threads of one process that are held."""
_STARTING = 10.0
"""Seconds that a tracer may take to start and answer, beside what it holds."""
_ENDED = (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, OSError)
"""What says that it has ended."""


class HoldMethod(StrEnum):
    """What holds a process still."""

    PTRACE = "ptrace"
    PAUSE = "pause"
    """Its container stands still, by the runtime."""
    NOTHING = "nothing"


class Tracer:
    """The helper that holds processes (`collector.memory.tracer`), started when it is needed."""

    def __init__(self, proc: Path) -> None:
        self._proc = proc
        self._process: anyio.abc.Process | None = None
        self._answers: BufferedByteReceiveStream | None = None

    async def hold(self, pid: int, seconds: float) -> TracerReport:
        """Stop the threads of a process. Raises `Unavailable` where that cannot be.

        At most `seconds` later they go on, whatever becomes of us.
        """
        try:
            with anyio.fail_after(seconds + _STARTING):
                return await self._ask(f"{pid} {seconds} {MAX_THREADS}\n".encode())
        except (TimeoutError, *_ENDED) as error:
            await self.stop()
            message = f"The process that holds others ended ({type(error).__name__} {error})"
            raise Unavailable(message, reason="Failed") from error
        except BaseException:
            await self.stop()
            raise

    async def _ask(self, line: bytes) -> TracerReport:
        if self._process is None:
            # -P: what lies in the folder that we were started in is not to be imported.
            command = [sys.executable, "-P", "-m", "collector.memory.tracer", str(self._proc)]
            self._process = await children.start(
                command, env=children.environment(), stdin=subprocess.PIPE, stderr=None
            )
            assert self._process.stdout  # noqa: S101  # it is a pipe
            self._answers = BufferedByteReceiveStream(self._process.stdout)
        assert self._process.stdin and self._answers  # noqa: S101
        await self._process.stdin.send(line)
        head = await self._answers.receive_exactly(HEAD.size)
        total, stopped, code, size = HEAD.unpack(head)
        body = await self._answers.receive_exactly(size) if size else b""
        return TracerReport(total, stopped, code, _threads(body), self._process.pid)

    async def release(self) -> bool:
        """Let the process go on; return whether it was held until now."""
        with suppress(*_ENDED):
            if self._process and self._process.stdin and self._answers:
                with anyio.move_on_after(_STARTING):
                    await self._process.stdin.send(b"\n")
                    answer = await self._answers.receive_exactly(len(GOING))
                    if answer != GOING:
                        await self.stop()
                    return True
        await self.stop()
        return False

    async def stop(self) -> None:
        """End the helper: the kernel lets go of what it holds."""
        process, self._process, self._answers = self._process, None, None
        if process:
            with suppress(ProcessLookupError):
                process.kill()
            with anyio.CancelScope(shield=True):
                await process.aclose()


@dataclass(frozen=True, slots=True)
class TracerReport:
    """What a tracer says of a process."""

    total: int
    """Threads that it has."""
    stopped: int
    error: int
    threads: list[Thread]
    tracer: int


def _threads(body: bytes) -> list[Thread]:
    threads, at = list[Thread](), 0
    while at < len(body):
        number, general, floating = RECORD.unpack_from(body, at)
        at += RECORD.size
        middle, end = at + general, at + general + floating
        threads.append(Thread(number, body[at:middle], body[middle:end]))
        at = end
    return threads


@dataclass(slots=True)
class HeldProcess:
    """How a process is held, and, after that, how it was."""

    how: HoldMethod = HoldMethod.NOTHING
    threads: list[Thread] = field(default_factory=list)
    """Those whose registers are known."""
    why: str = ""
    """Why not by `ptrace`."""
    loose: int = 0
    """Threads that did not stand still."""
    seconds: float = 0.0
    """For which it was held, once it is not."""
    expired: bool = False
    """Whether it went on before all was read."""
    limit: float = math.inf
    """Seconds for which it is held at most."""
    since: float = field(default_factory=time.monotonic)
    tracer: Tracer | None = None
    _released: bool = False

    async def release(self) -> None:
        """Let it go on where that is ours to do; the runtime's pause ends with the block."""
        if self._released:
            return
        self._released = True
        if self.tracer:
            self.expired = not await self.tracer.release()
        spent = time.monotonic() - self.since
        self.expired |= self.how is HoldMethod.PAUSE and spent >= self.limit
        self.seconds = min(spent, self.limit)

    @property
    def whole(self) -> bool:
        """Whether all of it stood still until all was read; known after that."""
        return self.how is not HoldMethod.NOTHING and not self.expired and not self.loose


@dataclass(slots=True)
class Freezer:
    """Holds the processes of one container, one at a time."""

    runtime: Runtime
    container: ContainerInfo
    seconds: float
    """0 is not to hold any."""
    tracer: Tracer
    standing: bool = False
    """Whether the whole container is paused already."""
    why: str = ""
    """Why no process can be held by `ptrace` here."""
    room: float = LIMIT
    """Seconds that the container may still be paused."""

    @asynccontextmanager
    async def held(self, process: Process) -> AsyncIterator[HeldProcess]:
        """Hold a process for the block, or for as long as is allowed."""
        if not self.seconds:
            yield HeldProcess(HoldMethod.PAUSE if self.standing else HoldMethod.NOTHING)
            return
        held = await self._trace(process)
        try:
            if held.how is HoldMethod.PTRACE or self.standing:
                yield held
            else:
                async with self._paused(held):
                    yield held
        finally:
            with anyio.CancelScope(shield=True):
                await held.release()

    async def _trace(self, process: Process) -> HeldProcess:
        how = HoldMethod.PAUSE if self.standing else HoldMethod.NOTHING
        if self.why:
            return HeldProcess(how, why=self.why)
        held = HeldProcess(HoldMethod.PTRACE, limit=self.seconds, tracer=self.tracer)
        try:
            answer = await self.tracer.hold(process.pid, self.seconds)
        except Unavailable as error:
            return HeldProcess(how, why=str(error))
        held.threads, held.loose = answer.threads, answer.total - answer.stopped
        try:
            await to_thread.run_sync(_require_ours, process, answer)
        except (Unavailable, OSError) as error:
            await held.release()
            self.why = str(error) if self.standing else ""
            return HeldProcess(how, why=str(error))
        if self.standing:
            held.how, held.limit = HoldMethod.PAUSE, math.inf
        return held

    @asynccontextmanager
    async def _paused(self, held: HeldProcess) -> AsyncIterator[None]:
        seconds = min(self.seconds, self.room)
        if seconds <= 0:
            yield
            return
        async with paused(self.runtime, [self.container], seconds) as pause:
            if not pause.failures and not pause.ended_early:
                held.how, held.limit, held.since = HoldMethod.PAUSE, seconds, time.monotonic()
            elif pause.failures:
                self.room = 0  # it would fail for the next process, too
            yield
        self.room -= min(time.monotonic() - held.since, seconds)


def _require_ours(process: Process, answer: TracerReport) -> None:
    """Raise where it is another process, or none at all, that stands still."""
    lines = process.read("status").split(b"\n")
    tracer = next(int(line.split()[1]) for line in lines if line.startswith(b"TracerPid:"))
    if answer.stopped and tracer == answer.tracer:
        return
    if tracer and tracer != answer.tracer:
        raise Unavailable(f"Process {tracer} traces it already", reason="NotPermitted")
    if answer.error:
        said = os.strerror(answer.error)
        raise Unavailable(f"The kernel does not let us trace it: {said}", reason="NotPermitted")
    raise Unavailable("No thread of it came to a standstill", reason="Failed")


@asynccontextmanager
async def freezing(
    runtime: Runtime, container: ContainerInfo, seconds: float = SECONDS
) -> AsyncIterator[Freezer]:
    """Hold processes of a container, each `seconds` at most; 0 is none at all."""
    tracer = Tracer(host_proc())
    freezer = Freezer(runtime, container, seconds, tracer, container.state == "paused")
    if not await to_thread.run_sync(same_numbers, host_proc()):
        freezer.why = (
            "The collector numbers processes otherwise than the node does: it is in a PID "
            "namespace of its own"
        )
    try:
        yield freezer
    finally:
        await tracer.stop()


def same_numbers(proc: Path) -> bool:
    """Whether processes have the numbers in `proc` by which we can name them to the kernel."""
    with suppress(OSError):
        return (proc / "self").readlink().name == str(os.getpid())
    return False
