"""An object that comes in parts is the same as one that comes by itself, failures included."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
import pytest

from forensics_core.bundle.parts import WAITING, in_parts
from forensics_core.errors import DestinationUnreachable, ObjectNotFound

DATA = bytes(range(256)) * 4
BLOCK = 10


class Source:
    """What there is, and how it was asked for."""

    def __init__(self, data: bytes = DATA, fails_at: int | None = None) -> None:
        self.asked: list[tuple[int, int | None]] = []
        self.open = 0
        self.sent = 0
        self._data = data
        self._fails_at = fails_at

    async def read(self, start: int, length: int | None) -> AsyncGenerator[bytes, None]:
        self.asked.append((start, length))
        self.open += 1
        try:
            end = len(self._data) if length is None else min(start + length, len(self._data))
            for at in range(start, end, BLOCK):
                if self._fails_at is not None and at >= self._fails_at:
                    raise DestinationUnreachable("gone")
                await anyio.lowlevel.checkpoint()
                self.sent += 1
                yield self._data[at : min(at + BLOCK, end)]
        finally:
            self.open -= 1


async def gathered(source: Source, size: int = len(DATA), part: int = 100) -> bytes:
    async with in_parts(source.read, size, part=part, connections=3) as blocks:
        return b"".join([block async for block in blocks])


@pytest.mark.parametrize("part", [7, 100, len(DATA) // 2, len(DATA), 5000])
async def test_parts_come_in_order_whatever_their_size(part: int) -> None:
    source = Source()
    assert await gathered(source, part=part) == DATA
    assert len(source.asked) == -(-len(DATA) // part)


async def test_what_follows_the_promised_end_is_seen() -> None:
    assert await gathered(Source(DATA + b"more")) == DATA + b"more"


async def test_what_ends_too_early_ends_there() -> None:
    assert await gathered(Source(DATA[:250])) == DATA[:250]


async def test_a_failure_comes_after_all_that_lies_before_it() -> None:
    source, found = Source(fails_at=250), b""
    with pytest.raises(DestinationUnreachable, match="gone"):
        async with in_parts(source.read, len(DATA), part=100, connections=3) as blocks:
            async for block in blocks:
                found += block
    assert found == DATA[:250]
    assert source.open == 0


async def test_no_more_is_asked_for_than_a_few_parts_ahead() -> None:
    source = Source()
    async with in_parts(source.read, len(DATA), part=100, connections=3) as blocks:
        assert await anext(blocks) == DATA[:BLOCK]
        await anyio.wait_all_tasks_blocked()
        assert [start for start, _ in source.asked] == [0, 100, 200]
    assert source.open == 0


async def test_a_last_part_without_an_end_takes_no_memory_without_end() -> None:
    source = Source(DATA * 10)
    async with in_parts(source.read, 100, part=100, connections=3) as blocks:
        await anext(blocks)
        await anyio.wait_all_tasks_blocked()
        assert source.sent <= WAITING + 2


async def test_who_stops_in_the_middle_leaves_nothing_open() -> None:
    source = Source()
    async with in_parts(source.read, len(DATA), part=100, connections=3) as blocks:
        async for _ in blocks:
            break
    assert source.open == 0


async def test_what_the_taker_raises_is_raised_as_it_is() -> None:
    source = Source()
    with pytest.raises(ObjectNotFound):
        async with in_parts(source.read, len(DATA), part=100, connections=3) as blocks:
            async for _ in blocks:
                raise ObjectNotFound("something else")
    assert source.open == 0
