"""The pipeline: source, stages and sink, each a task, with one block between any two of them.

Memory is bounded by the number of blocks under way: one in the source, one waiting before and as
many inside each stage as it has workers, one in the sink. The slowest part sets the pace.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Sequence
from contextlib import aclosing

import anyio
from anyio import to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from forensics_core._internal.tasks import task_group
from forensics_core.pipeline.meter import Meter
from forensics_core.pipeline.stages import Digest, Stage
from forensics_core.storage.blocks import rechunk
from forensics_core.storage.objects import Buffer

SMALL = 16 * 1024
"""Bytes of a block that is hashed where it is."""


async def run_pipeline(
    source: AsyncIterable[Buffer],
    stages: Sequence[Stage],
    sink: Callable[[Buffer], Awaitable[None]],
    meter: Meter,
    *,
    framed: bool = False,
) -> None:
    """Send every byte of `source` through `stages`, in order, into `sink`.

    Stages get blocks of `BLOCK_SIZE`; where `framed`, the source's own. Whatever fails first, here
    or in any stage, ends all of it and is raised.
    """
    async with task_group() as tasks:
        # Room for nothing: a block waits with whoever made it. More room was tried, for no gain.
        head, flow = anyio.create_memory_object_stream[Buffer](0)
        tasks.start_soon(_draw, source, head, meter, framed)
        for stage in stages:
            outlet, following = anyio.create_memory_object_stream[Buffer](0)
            tasks.start_soon(_work, stage, flow, outlet)
            flow = following
        async with flow:
            async for block in flow:
                await sink(block)
                meter.bytes_stored += len(block)


async def _draw(
    source: AsyncIterable[Buffer],
    outlet: MemoryObjectSendStream[Buffer],
    meter: Meter,
    framed: bool,
) -> None:
    blocks = _unchanged(source) if framed else rechunk(source)
    async with outlet, aclosing(blocks):
        async for block in blocks:
            meter.bytes_read += len(block)
            await outlet.send(block)


async def _unchanged(source: AsyncIterable[Buffer]) -> AsyncGenerator[Buffer, None]:
    async for block in source:
        yield block


async def _work(
    stage: Stage,
    inlet: MemoryObjectReceiveStream[Buffer],
    outlet: MemoryObjectSendStream[Buffer],
) -> None:
    async with inlet, outlet:
        places = anyio.Semaphore(stage.workers)
        turn = anyio.Event()
        turn.set()
        async with task_group() as tasks:
            while True:
                # Before the next block is taken in: a stage that is busy holds as many blocks as it
                # has workers, and not one more.
                await places.acquire()
                try:
                    block = await inlet.receive()
                except anyio.EndOfStream:
                    break
                following = anyio.Event()
                tasks.start_soon(_step, stage, block, outlet, turn, following, places)
                turn = following
        await _pass_on(outlet, stage.finish())


async def _step(
    stage: Stage,
    block: Buffer,
    outlet: MemoryObjectSendStream[Buffer],
    turn: anyio.Event,
    following: anyio.Event,
    places: anyio.Semaphore,
) -> None:
    """Work on one block, and hand it on after the ones that came before it."""
    # To hand a small one to a thread takes longer than to hash it: some 10 us for 16 KiB.
    if len(block) <= SMALL and isinstance(stage, Digest):
        after = stage.process(block)
    else:
        after = await to_thread.run_sync(stage.process, block)
    # Digests and seek tables are about the order of the bytes, and threads end in any order.
    await turn.wait()
    stage.passed(block, after)
    await _pass_on(outlet, after)
    # Only now: set before, the next block could overtake this one while it waits to be taken.
    following.set()
    places.release()


async def _pass_on(outlet: MemoryObjectSendStream[Buffer], block: Buffer) -> None:
    if block:
        await outlet.send(block)
