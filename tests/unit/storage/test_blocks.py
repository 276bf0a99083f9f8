"""Sources arrive in whatever pieces they like and leave in blocks of one size."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Iterator

import anyio
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forensics_core.storage.blocks import BlockPool, one, read_socket, rechunk


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
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    out, into = socket.socketpair()
    with out, into:
        yield out, into


async def test_a_socket_is_read_to_its_end_in_whole_blocks(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    out, into = ends
    data = os.urandom(300_000)

    def feed() -> None:
        into.sendall(data)
        into.shutdown(socket.SHUT_WR)

    blocks: list[bytes] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, feed)
        blocks.extend([bytes(block) async for block in read_socket(out, 65_536)])
    assert b"".join(blocks) == data
    assert [len(block) for block in blocks[:-1]] == [65_536] * (len(blocks) - 1)


async def test_waiting_for_a_silent_socket_can_be_cancelled(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    with anyio.move_on_after(0.05) as scope:
        async for _ in read_socket(ends[0]):
            pytest.fail("nothing was sent")
    assert scope.cancelled_caught
    ends[0].shutdown(socket.SHUT_RD)


def test_a_block_is_used_again_once_nobody_looks_at_it() -> None:
    pool = BlockPool(64)
    first = pool.take()
    part = first[:8]
    first.release()
    second = pool.take()
    assert second.obj is not part.obj
    seen = part.obj
    part.release()
    again = pool.take()
    assert again.obj is seen
    assert len(again) == 64


async def test_a_block_begins_with_what_the_last_one_left_over() -> None:
    mine, theirs = socket.socketpair()
    left = [b"", b"abc", b"de", b"none"]
    with mine, theirs:
        theirs.sendall(b"0123456789" * 2)
        theirs.shutdown(socket.SHUT_WR)
        blocks = [bytes(block) async for block in read_socket(mine, 10, lambda: left.pop(0))]
    assert blocks == [b"0123456789", b"abc0123456", b"de789"]
