"""The pipeline keeps the order, holds little, and ends at the first failure."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator

import anyio
import pytest

from forensics_core.errors import DestinationError, SourceError
from forensics_core.pipeline.meter import Meter
from forensics_core.pipeline.run import run_pipeline
from forensics_core.pipeline.stages import Digest
from forensics_core.storage.blocks import BLOCK_SIZE
from forensics_core.storage.objects import Buffer


class Uneven:
    """Is done with another block before the first, so that a careless pipeline would reorder."""

    workers = 3

    def __init__(self) -> None:
        self.at_once = 0
        self.most = 0
        self._lock = threading.Lock()
        self._first = True
        self._overtaken = threading.Event()

    def process(self, block: Buffer) -> Buffer:
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            first, self._first = self._first, False
        assert not first or self._overtaken.wait(60)
        self._overtaken.set()
        with self._lock:
            self.at_once -= 1
        return block

    def passed(self, before: Buffer, after: Buffer) -> None:
        assert before == after

    def finish(self) -> Buffer:
        return b"end"


async def blocks(count: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number]) * BLOCK_SIZE


async def test_order_is_kept_and_workers_are_bounded() -> None:
    seen: list[bytes] = []

    async def sink(block: Buffer) -> None:
        seen.append(bytes(block[:3]))

    stage, meter = Uneven(), Meter()
    await run_pipeline(blocks(8), [stage], sink, meter)
    assert seen == [bytes([number]) * 3 for number in range(8)] + [b"end"]
    assert stage.most <= stage.workers
    assert meter.bytes_read == 8 * BLOCK_SIZE
    assert meter.bytes_stored == 8 * BLOCK_SIZE + 3
    assert meter.rate > 0


async def test_a_slow_sink_holds_the_source_back() -> None:
    drawn = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal drawn
        while True:
            drawn += 1
            yield b"x" * BLOCK_SIZE

    async def stuck(_: Buffer) -> None:
        await anyio.sleep_forever()

    with anyio.move_on_after(0.5):
        await run_pipeline(endless(), [Digest(), Digest()], stuck, Meter())
    assert drawn < 12


async def test_a_failing_source_ends_it_with_its_own_error() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"some"
        raise SourceError("The engine hung up", hint="Try again")

    async def sink(_: Buffer) -> None:
        return

    with pytest.raises(SourceError, match="hung up"):
        await run_pipeline(broken(), [Digest()], sink, Meter())


async def test_a_failing_sink_ends_it_with_its_own_error() -> None:
    async def full(_: Buffer) -> None:
        raise DestinationError("No space")

    with pytest.raises(DestinationError, match="No space"):
        await run_pipeline(blocks(50), [Digest(), Uneven()], full, Meter())


async def test_a_failing_stage_ends_it_with_its_own_error() -> None:
    class Broken(Digest):
        def process(self, block: Buffer) -> Buffer:
            raise ValueError("cannot")

    async def sink(_: Buffer) -> None:
        return

    with pytest.raises(ValueError, match="cannot"):
        await run_pipeline(blocks(5), [Broken()], sink, Meter())


def test_a_meter_that_has_just_begun_has_no_rate() -> None:
    assert Meter().rate == 0.0
