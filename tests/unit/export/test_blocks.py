"""Sources arrive in whatever pieces they like and leave in blocks of one size."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import anyio
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forensics_core.export.blocks import one, read_pipe, rechunk


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(1, 16))
def test_rechunk_keeps_every_byte_and_evens_the_blocks(data: list[bytes], size: int) -> None:
    async def collect() -> list[bytes]:
        return [bytes(block) async for block in rechunk(pieces(*data), size)]

    blocks = anyio.run(collect)
    assert b"".join(blocks) == b"".join(data)
    assert all(len(block) == size for block in blocks[:-1])
    assert all(0 < len(block) <= size for block in blocks)


async def test_one_is_a_source_of_one_block() -> None:
    assert [block async for block in one(b"abc")] == [b"abc"]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    os.set_blocking(ends[0], False)
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


async def test_a_pipe_is_read_to_its_end(pipe: tuple[int, int]) -> None:
    out, into = pipe
    data = os.urandom(300_000)

    def feed() -> None:
        with os.fdopen(into, "wb", closefd=True) as file:
            file.write(data)

    blocks: list[bytes] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, feed)
        blocks.extend([bytes(block) async for block in read_pipe(out, 65_536)])
    assert b"".join(blocks) == data
    assert [len(block) for block in blocks[:-1]] == [65_536] * (len(blocks) - 1)


async def test_waiting_for_a_silent_pipe_can_be_cancelled(pipe: tuple[int, int]) -> None:
    with anyio.move_on_after(0.05) as scope:
        async for _ in read_pipe(pipe[0]):
            pytest.fail("nothing was written")
    assert scope.cancelled_caught
