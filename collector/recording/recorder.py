"""The recorder of a capture: what containers do while they are captured, and at least so long.

::

    async with recorded(captures, 30):
        ...  # capture

What the kernel does not tell, or not us, is a gap with its reason; nothing here fails a capture.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio import to_thread

from collector.container import ContainerCapture
from collector.node.abandonable import run_abandonable
from collector.node.tables import reason
from collector.recording.limits import RecordingLimits
from collector.recording.opening import RecordingSources, open_sources
from collector.recording.packets import Packets
from collector.recording.watch import shown
from collector.runtimes.runtime import Unavailable
from forensics_core._internal.tasks import task_group
from forensics_core.api.order import ArtifactKind, Compression
from forensics_core.bundle.layout import PACKETS, RECORDING, container_file
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import ArtifactSpec, SourceNotes
from forensics_core.errors import DestinationError, UsageError
from forensics_core.storage.objects import Buffer

METHOD = "recorder"
WHAT = "recording"
OPENING = 30.0
"""Seconds that it may take until all is watched."""
CLOSING = 20.0
"""Seconds that storing the rest may take after the deadline."""
_INTERVAL = 0.25
"""Seconds between two blocks of what is stored."""
_END = float("inf")


@asynccontextmanager
async def recorded(
    captures: Sequence[ContainerCapture], seconds: float, limits: RecordingLimits | None = None
) -> AsyncIterator[None]:
    """Record what running containers do until the block ends, and `seconds` at least.

    Of 0 seconds nothing is recorded.
    """
    over, taken = threading.Event(), dict[bytes, str]()
    async with task_group() as tasks:
        recorders = list[_Recorder]()
        for capture in captures if seconds else ():
            recorder = _Recorder(capture, limits or RecordingLimits(), taken)
            if await recorder.open():
                recorders.append(recorder)
                tasks.start_soon(recorder.run, over.is_set)
        begun = anyio.current_time()
        try:
            yield
            if recorders:
                with captures[0].stop.scope(captures[0].deadline):
                    await anyio.sleep_until(begun + seconds)
        finally:
            over.set()


@dataclass(slots=True)
class _Recorder:
    """The recording of one container."""

    capture: ContainerCapture
    limits: RecordingLimits
    taken: dict[bytes, str]
    """The file with the packets of each network namespace, of all containers."""
    sources: RecordingSources = field(init=False)
    notes: SourceNotes = field(default_factory=SourceNotes)

    async def open(self) -> bool:
        """Have everything watched; return whether there is anything to watch."""
        capture = self.capture
        try:
            first = await capture.runtime.process(await capture.runtime.inspect(capture.container))
            own = container_file(capture.name, PACKETS)
            self.sources = await run_abandonable(
                OPENING,
                "what is to be recorded",
                open_sources,
                *(first, capture.container.key, self.limits, self.taken, own),
            )
        except (DestinationError, UsageError):
            raise
        except Exception as error:  # what a container can provoke must not cost the evidence
            why, message = _reason_and_message(error)
            capture.record_gap(WHAT, why, message, requested=why != "NotRunning")
            return False
        capture.writes = self.sources.watch.writes
        return True

    async def run(self, is_over: Callable[[], bool]) -> None:
        """Record and store until it is over, or until the deadline."""
        with self.capture.stop.scope(self.capture.deadline, CLOSING) as scope:
            await self._run(is_over)
        if scope.cancelled_caught:
            self.capture.record_time_gap(WHAT)
        self._account()

    async def _run(self, is_over: Callable[[], bool]) -> None:
        sources = self.sources
        # Before anything is watched: its time is the first.
        began = sources.watch.journal.spell("began", **sources.described())
        files = 1 + len(sources.packets)
        self.capture.bundle.meter.artifacts_total += files
        watched, done = anyio.Event(), list[anyio.Event]()
        async with task_group() as tasks:
            tasks.start_soon(self._store_events, began, watched)
            async with task_group() as running:
                running.start_soon(self._watch, WHAT, sources.watch.run, is_over, anyio.Event())
                for packets in sources.packets:
                    done.append(anyio.Event())
                    tasks.start_soon(self._store_packets, packets, done[-1])
                    running.start_soon(self._watch, PACKETS, packets.run, is_over, done[-1])
            watched.set()

    async def _watch(
        self,
        name: str,
        run: Callable[[Callable[[], bool]], None],
        is_over: Callable[[], bool],
        done: anyio.Event,
    ) -> None:
        try:
            await run_abandonable(_END, name, run, is_over)
        except Exception as error:  # what a container can provoke must not cost the evidence
            self.capture.record_gap(f"{name}, its rest", *_reason_and_message(error))
        finally:
            done.set()

    async def _store_events(self, began: bytes, done: anyio.Event) -> None:
        blocks = self._events(began, done)
        await self._add(RECORDING, ArtifactKind.PROCESSES, "application/jsonl", blocks)

    async def _store_packets(self, packets: Packets, done: anyio.Event) -> None:
        blocks = _blocks(packets.drain, done)
        await self._add(PACKETS, ArtifactKind.NETWORK, "application/x-pcapng", blocks)

    async def _add(
        self, name: str, kind: ArtifactKind, media_type: str, blocks: AsyncIterator[Buffer]
    ) -> None:
        capture, zstd = self.capture, name.endswith(".zst")
        spec = ArtifactSpec(
            container_file(capture.name, name),
            kind,
            capture.name,
            "application/zstd" if zstd else media_type,
            METHOD,
            Compression.ZSTD if zstd else Compression.NONE,
        )
        notes = self.notes if name == RECORDING else SourceNotes()
        await capture.bundle.add(spec, blocks, notes)

    async def _events(self, began: bytes, done: anyio.Event) -> AsyncIterator[Buffer]:
        journal = self.sources.watch.journal
        yield began
        async for block in _blocks(journal.drain, done):
            yield block
        if journal.lost or journal.unknown:
            self.notes.flags.add(Flag.TRUNCATED)
        yield journal.spell("ended", **self.sources.counted())

    def _account(self) -> None:
        """Record what is not there."""
        record_gap, watch = self.capture.record_gap, self.sources.watch
        for what, why, message in self.sources.missing:
            record_gap(f"{WHAT}, {what}", why, message, requested=False)
        for what, error in watch.failures.items():
            record_gap(f"{WHAT}, {what}", reason(error), f"It ended early: {error}")
        if watch.mounts.unmarked:
            some = {*watch.mounts.unmarked.values()}
            message = f"Not watched: {shown(watch.mounts.unmarked)} ({', '.join(sorted(some)[:5])})"
            record_gap(f"{WHAT}, writes on mounts", "NotSupported", message, requested=False)
        if watch.elsewhere.found:
            message = (
                "Processes were in other namespaces than those that are watched: what they wrote "
                "on mounts of these, and their connections, are not recorded: "
                f"{shown(os.fsencode(name) for name in watch.elsewhere.found)}"
            )
            record_gap(f"{WHAT}, other namespaces", "NotSupported", message, requested=False)
        message = (
            "Mounts and namespaces of the container that were there only between two looks, each "
            f"{watch.interval:g} s after the last, and in which nothing was started, are not known"
        )
        record_gap(f"{WHAT}, between two looks", "NotVisible", message, requested=False)
        if more := watch.members.more:
            message = f"{more} times a process was one more than are kept in mind"
            record_gap(f"{WHAT}, processes", "TooMany", message, requested=False)
        self._account_losses()

    def _account_losses(self) -> None:
        record_gap, journal = self.capture.record_gap, self.sources.watch.journal
        if journal.lost:
            each = ", ".join(f"{count} {name}" for name, count in sorted(journal.lost.items()))
            message = f"More happened than there was room for; only counted are {each}"
            record_gap(f"{RECORDING}, its rest", "TooLarge", message)
        if journal.unknown:
            each = ", ".join(f"{count} of {name}" for name, count in journal.unknown.items())
            message = f"The kernel's queues were full, and it does not tell what is lost: {each}"
            record_gap(f"{RECORDING}, lost events", "TooLarge", message)
        if lost := sum(packets.lost for packets in self.sources.packets):
            message = f"{lost} packets were only counted: too many, or too fast"
            record_gap(f"{PACKETS}, its rest", "TooLarge", message)
        if more := max((each.more for each in self.sources.watch.sockets), default=0):
            message = f"{more} sockets were there beside those that were compared"
            record_gap(f"{WHAT}, sockets", "TooLarge", message)


async def _blocks(drain: Callable[[], bytes], done: anyio.Event) -> AsyncIterator[Buffer]:
    """Yield what there is, again and again, until it is done and there is nothing."""
    while True:
        is_done = done.is_set()
        block = await to_thread.run_sync(drain)
        if block:
            yield block
        elif is_done:
            return
        with anyio.move_on_after(_INTERVAL):
            await done.wait()


def _reason_and_message(error: Exception) -> tuple[str, str]:
    match error:
        case Unavailable():
            return error.reason, str(error)
        case FileNotFoundError() | ProcessLookupError():
            return "NotRunning", "The container ended before it could be recorded"
        case OSError():
            return reason(error), str(error)
        case _:
            return "Unexpected", f"{type(error).__name__}: {error}"
