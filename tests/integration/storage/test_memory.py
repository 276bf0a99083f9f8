"""How much memory the process itself takes, with the allocator that the collector sets up."""

from __future__ import annotations

import sys

import anyio

MIB = 1024 * 1024

FRAMES_PILE_UP = f"""
import random, resource
from forensics_core._internal.allocator import use_one_arena
use_one_arena()
import anyio
from forensics_core.pipeline.meter import Meter
from forensics_core.pipeline.run import run_pipeline
from forensics_core.pipeline.stages import Digest, Zstd

async def source():
    for _ in range(12_000):
        yield random.randbytes(1_000) + bytes(99_000)

async def hoard():
    frames = []
    async def sink(frame):
        frames.append(frame)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await run_pipeline(source(), [Digest(), Zstd(), Digest()], sink, Meter())
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print((after - before) // 1024, sum(map(len, frames)) // {MIB})

anyio.run(hoard)
"""


async def test_frames_that_wait_for_a_slow_server_take_the_room_of_frames() -> None:
    """Each was compressed in room for 4 MiB, which must not stay behind with it."""
    done = await anyio.run_process([sys.executable, "-c", FRAMES_PILE_UP])
    grown, held = map(int, done.stdout.split())
    assert held > 10
    assert grown < 70
