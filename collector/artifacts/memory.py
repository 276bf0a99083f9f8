"""`memory/PID.core`: each process's memory as an ELF core, and `memory/memory.json` about them.

Shape: `{"method": "mem", "processes": [{"pid": 7, "core": "7.core.zst", "held": {"how": "ptrace",
"seconds": 0.1, "whole": true}, "threads": 3, "bytes": 8192, "files": [0, 4], ...}], "files":
[{"path": "/bin/sh", "sha256": ..., ...}]}`. `files` of a process are rows of the list at the end:
what it has mapped and did not change is in these files, and in no core.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import anyio

from collector.artifacts import checkpoint
from collector.artifacts.processes import members
from collector.container import ContainerCapture
from collector.documents import portable
from collector.gaps.memory import Losses
from collector.memory.core import Core, Shared, forget, prepared
from collector.memory.files import MappedFiles
from collector.memory.freeze import SECONDS, Freezer, HeldProcess, HoldMethod, freezing
from collector.node.abandonable import raise_if_abandoned, run_abandonable
from collector.node.procfs import Process
from collector.runtimes.runtime import Unavailable
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import SourceNotes
from forensics_core.errors import DestinationError, ForensicsError, UsageError
from forensics_core.storage.blocks import BLOCK_SIZE, BlockPool
from forensics_core.storage.objects import Buffer

FOLDER = "memory"
METHOD = "mem"
TIMEOUT = 30.0
"""Seconds that planning a core, or reading one block of it, may take."""
SHARE = 0.5
"""Part of the time that is left which memory may take."""


@dataclass(frozen=True, slots=True)
class CoreLimits:
    """What cores of one container may cost."""

    process: int = 4 * 1024**3
    """Bytes of one process, before compression."""
    container: int = 8 * 1024**3
    processes: int = 1024
    """Cores: each is a file of the bundle."""
    seconds: float = SECONDS
    """For which one process is held still."""


@dataclass(slots=True)
class _Cores:
    """The cores of one container, under way."""

    capture: ContainerCapture
    freezer: Freezer
    limits: CoreLimits
    until: float
    """When memory has had its part of the time."""
    left: int
    """Bytes that may still be stored."""
    files: MappedFiles = field(default_factory=MappedFiles)
    shared: Shared = field(default_factory=dict)
    rows: list[str] = field(default_factory=list)
    losses: Losses = field(default_factory=Losses)

    async def add_all(self, pids: list[int]) -> None:
        for position, pid in enumerate(pids):
            if position >= self.limits.processes or self.left <= 0:
                self.losses.add("unstored", pid)
            elif self.capture.is_over or anyio.current_time() >= self.until:
                self.losses.add("late", pid)
            else:
                await self._add(pid)

    async def _add(self, pid: int) -> None:
        with ExitStack() as stack:
            try:
                process = await run_abandonable(
                    TIMEOUT, f"process {pid}", stack.enter_context, Process.open(pid)
                )
                async with self.freezer.held(process) as held:
                    await self._add_held(process, held, stack)
            except (FileNotFoundError, ProcessLookupError):
                forget(self.shared, pid)
                self.losses.add("ended", pid)
            except (DestinationError, UsageError):
                raise
            except Exception as error:  # what one process can provoke must not cost the others
                told = isinstance(error, ForensicsError | OSError)
                why = str(error) if told else f"{type(error).__name__}: {error}"
                forget(self.shared, pid)
                self.losses.add("unread", pid, why=why)

    async def _add_held(self, process: Process, held: HeldProcess, stack: ExitStack) -> None:
        limit = min(self.limits.process, self.left)
        preparing = prepared(process, held.threads, limit, self.shared)
        core = await run_abandonable(
            TIMEOUT, f"memory of {process.pid}", stack.enter_context, preparing
        )
        notes = SourceNotes()
        await self.capture.add(
            f"{FOLDER}/{process.pid}.core",
            ArtifactKind.MEMORY,
            self._blocks(process, core, held, notes),
            method=held.how if held.how is not HoldMethod.NOTHING else METHOD,
            media_type="application/x-coredump",
            notes=notes,
            compression=self.capture.compression,
        )
        await held.release()
        self.left -= core.reader.done
        self._note(process.pid, core, held)
        await self._add_row(process, core, held)

    async def _blocks(
        self, process: Process, core: Core, held: HeldProcess, notes: SourceNotes
    ) -> AsyncIterator[Buffer]:
        """Yield the core in whole blocks: what is joined to others later is copied once more."""
        pool, head = BlockPool(), memoryview(core.head)
        whole = len(head) // BLOCK_SIZE * BLOCK_SIZE
        for start in range(0, whole, BLOCK_SIZE):
            yield head[start : start + BLOCK_SIZE]
        begin = len(head) - whole
        block = pool.take()
        block[:begin] = head[whole:]
        while size := begin + await self._fill(process, core, block[begin:]):
            yield block[:size].toreadonly()
            block, begin = pool.take(), 0
        await held.release()
        if not held.whole:
            notes.flags.add(Flag.CHANGED_WHILE_READ)
        if core.plan.cut or core.reader.gone or core.reader.done < core.plan.size:
            notes.flags.add(Flag.TRUNCATED)
        if core.reader.unreadable:
            notes.remark(
                f"{core.reader.first or 0:#x}",
                f"{core.reader.unreadable} bytes from here on could not be read, and are zeros",
            )

    async def _fill(self, process: Process, core: Core, block: memoryview) -> int:
        pid = process.pid
        if anyio.current_time() >= self.until:
            self.losses.add("late", pid, core.plan.size - core.reader.done)
            return 0
        try:
            return await run_abandonable(TIMEOUT, f"memory of {pid}", core.reader.fill, block)
        except Unavailable as error:
            self.losses.add("unread", pid, core.plan.size - core.reader.done, str(error))
            return 0

    def _note(self, pid: int, core: Core, held: HeldProcess) -> None:
        """Add up what this core lacks."""
        plan, reader = core.plan, core.reader
        self.losses.omitted.update(core.omitted, unmodified=core.unmodified)
        facts = {
            "cut": plan.cut,
            "unreadable": reader.unreadable,
            "registers": core.bare,
            "unlisted": core.unlisted + plan.sparse + core.unnamed,
            "loose": held.loose,
        }
        for what, size in facts.items():
            if size:
                self.losses.add(what, pid, size, held.why if what == "registers" else "")
        if reader.gone:
            self.losses.add("gone", pid, plan.size - reader.done)
        if plan.cut or reader.unreadable or reader.done < plan.size:
            forget(self.shared, pid)
        if held.expired:
            self.losses.add("expired", pid)
        if held.how is HoldMethod.NOTHING:
            self.losses.add("moving", pid, why=held.why)

    async def _add_row(self, process: Process, core: Core, held: HeldProcess) -> None:
        files, comm = list[int](), b""
        try:
            looking = _look, self.files, process, core
            comm, files = await run_abandonable(TIMEOUT, "mapped files", *looking)
        except (Unavailable, OSError):
            self.files.unhashed += 1
        zstd = self.capture.compression.compresses
        row = {
            "pid": process.pid,
            "command": portable(comm),
            "core": f"{process.pid}.core{'.zst' if zstd else ''}",
            "held": {
                "how": held.how,
                "seconds": round(held.seconds, 3),
                "whole": held.whole,
                "threadsMoving": held.loose,
            },
            "threads": core.threads,
            "threadsWithoutRegisters": core.bare,
            "mappings": len(core.rows),
            "bytes": core.reader.done,
            "unmodified": core.unmodified,
            "omitted": dict(core.omitted),
            "elsewhere": core.elsewhere,
            "cut": core.plan.cut,
            "unreadable": core.reader.unreadable,
            "files": files,
        }
        self.rows.append(json.dumps(row, ensure_ascii=False))

    async def document(self) -> AsyncIterator[bytes]:
        """Yield `memory.json`."""
        yield f'{{"method": "{METHOD}", "processes": [\n'.encode()
        for part in _separated(self.rows):
            yield part
        yield b'\n], "files": [\n'
        for part in _separated(json.dumps(row, ensure_ascii=False) for row in self.files.rows):
            yield part
        yield b"\n]}\n"


def _look(files: MappedFiles, process: Process, core: Core) -> tuple[bytes, list[int]]:
    return process.read("comm", 64).rstrip(b"\n"), files.look(process, core.rows)


def _separated(rows: Iterable[str]) -> Iterable[bytes]:
    for position, row in enumerate(rows):
        yield (",\n" if position else "").encode() + row.encode(errors="backslashreplace")


def _smallest_first(pids: Iterable[int]) -> list[int]:
    """Return those that have memory: where there is not room for all, the largest lack it.

    One that ends meanwhile, or is not to be looked at, is among them: why comes to light then.
    """
    sizes = dict[int, int]()
    for pid in pids:
        raise_if_abandoned()
        sizes[pid] = 0
        with suppress(OSError), Process.open(pid) as process:
            total, sizes[pid] = map(int, process.read("statm").split()[:2])
            if not total:
                del sizes[pid]
    return sorted(sizes, key=lambda pid: sizes[pid])


async def collect(capture: ContainerCapture, limits: CoreLimits | None = None) -> None:
    """Store a core of each process; one that ends before its turn has no memory any more."""
    # First: it is of the earlier moment.
    await checkpoint.collect(capture)
    pids = await members(capture, ArtifactKind.MEMORY)
    if not pids:
        return
    limits = limits or CoreLimits()
    pids = await run_abandonable(TIMEOUT, "sizes of processes", _smallest_first, pids)
    container = await capture.runtime.inspect(capture.container)
    seconds = limits.seconds if capture.freeze else 0
    async with freezing(capture.runtime, container, seconds) as freezer:
        cores = _Cores(capture, freezer, limits, capture.part(SHARE), limits.container)
        await cores.add_all(pids)
    await capture.add(
        f"{FOLDER}/memory.json",
        ArtifactKind.MEMORY,
        cores.document(),
        method=METHOD,
        media_type="application/json",
        whole=True,
    )
    cores.losses.account(capture, cores.files.unhashed, cores.files.more)
