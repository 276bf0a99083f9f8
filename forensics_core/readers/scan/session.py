"""The engine's process, as the scan talks to it: see `engine`."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from forensics_core._internal import children
from forensics_core.errors import ForensicsError, UsageError
from forensics_core.readers.scan import engine
from forensics_core.readers.scan.results import ScannedObject
from forensics_core.readers.scan.rules import RuleMatch

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of one answer: thousands of rules that match at once."""
_PIPE = 1024 * 1024
"""Bytes that the pipe to the engine may hold, so that neither waits for the other all the time."""


class EngineFailed(ForensicsError):
    """The engine ended by itself: what it was looking at was not scanned to its end."""


@dataclass(frozen=True, slots=True)
class ScanQuery:
    """Something that the engine has not answered for yet."""

    subject: ScannedObject
    digests: Mapping[str, str]
    size: int
    """Bytes of it that passed."""


@dataclass(frozen=True, slots=True)
class ScanAnswer:
    """What the engine says of it."""

    asked: ScanQuery
    found: list[RuleMatch]
    timed_out: bool
    """Whether the rules took too long, and did not see all of it."""


class ScanEngine:
    """One process that scans; made by `running_engine`.

    `data`, `skip_to`, `end` and `drop` block, and are called in a thread; `answers` is awaited at
    the same time, or the engine would wait for somebody to take its answers.
    """

    def __init__(self, process: Process, pipe: BinaryIO) -> None:
        self._process = process
        self._pipe = pipe
        self._asked: deque[ScanQuery] = deque()
        assert process.stdout is not None  # noqa: S101  # it was asked for
        self._lines = BufferedByteReceiveStream(process.stdout)
        self._answered = anyio.Event()

    def data(self, piece: memoryview) -> None:
        """Send bytes of a file."""
        self._pipe.write(engine.HEAD.pack(engine.DATA, len(piece)))
        self._pipe.write(piece)

    def skip_to(self, offset: int) -> None:
        """Go on at another place of the file."""
        self._pipe.write(engine.HEAD.pack(engine.SKIP, offset))

    def end(self, asked: ScanQuery) -> None:
        """Ask what is in the file."""
        self._asked.append(asked)
        self._pipe.write(engine.HEAD.pack(engine.END, 0))

    def drop(self) -> None:
        """Forget the file."""
        self._pipe.write(engine.HEAD.pack(engine.DROP, 0))

    def flush(self) -> None:
        """Send what is waiting to be sent."""
        self._pipe.flush()

    async def ready(self) -> None:
        """Wait until the rules are compiled. Raises `UsageError` where they are none."""
        said = json.loads(await self._line())
        if "error" in said:
            kind = UsageError if said["usage"] else ForensicsError
            raise kind(said["error"], hint=said["hint"])

    async def answers(self, take: Callable[[ScanAnswer], None]) -> None:
        """Hand on each answer as it comes, until this is cancelled. Raises `EngineFailed`."""
        while True:
            line = await self._line()
            found, timed_out = engine.parse_answer(line)
            take(ScanAnswer(self._asked.popleft(), found, timed_out))
            self._answered.set()

    async def all_answered(self) -> None:
        """Wait until everything that was asked is answered, which `answers` sees to."""
        while self._asked:
            self._answered = anyio.Event()
            await self._answered.wait()

    async def _line(self) -> bytes:
        try:
            return await self._lines.receive_until(b"\n", MAX_ANSWER)
        except (anyio.EndOfStream, anyio.IncompleteRead) as error:
            code = await self._process.wait()
            how = f"by signal {-code}" if code < 0 else f"with code {code}"
            what = f" over {self._asked[0].subject.shown}" if self._asked else ""
            raise EngineFailed(
                f"The YARA engine ended {how}{what}: what followed there was not scanned",
                hint="Try the rules one by one: one of them, or the file, is too much for it",
            ) from error


@asynccontextmanager
async def running_engine(files: Sequence[Path], seconds: int) -> AsyncIterator[ScanEngine]:
    """Run an engine with these rules for the block; they may take `seconds` over one window.

    Raises `UsageError` for rules that are none, `ForensicsError` where YARA-X is not installed.
    """
    theirs, ours = os.pipe()
    pipe = os.fdopen(ours, "wb", buffering=256 * 1024)
    try:
        with suppress(OSError):
            fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, _PIPE)
        # `-P`: the current folder may be evidence, and no module is loaded from there.
        module = [sys.executable, "-P", "-m", engine.__name__]
        command = [*module, str(seconds), *map(str, files)]
        try:
            process = await children.start(
                command,
                stdin=theirs,
                stderr=subprocess.DEVNULL,
                env=children.environment(keep=["HOME"]),
            )
        finally:
            os.close(theirs)
        try:
            made = ScanEngine(process, pipe)
            await made.ready()
            yield made
        finally:
            with anyio.CancelScope(shield=True):
                with suppress(ProcessLookupError):
                    process.kill()
                await process.aclose()
    finally:
        # It may hold what nobody takes any more.
        with suppress(OSError):
            pipe.close()
