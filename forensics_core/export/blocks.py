"""Sources of bytes, as asynchronous iterators of blocks."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator

import anyio

from forensics_core.export.destination import Buffer

BLOCK_SIZE = 4 * 1024 * 1024
"""Bytes a block: what one frame of compression and one step of hashing works on."""


async def rechunk(
    source: AsyncIterable[Buffer], size: int = BLOCK_SIZE
) -> AsyncGenerator[Buffer, None]:
    """Yield the bytes of `source` in blocks of exactly `size` bytes, but for the last."""
    waiting: list[Buffer] = []
    have = 0
    async for chunk in source:
        rest = memoryview(chunk)
        while have + len(rest) >= size:
            waiting.append(rest[: size - have])
            rest = rest[size - have :]
            yield _joined(waiting)
            waiting, have = [], 0
        if rest:
            waiting.append(rest)
            have += len(rest)
    if waiting:
        yield _joined(waiting)


def _joined(pieces: list[Buffer]) -> Buffer:
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def one(data: Buffer) -> AsyncIterator[Buffer]:
    """Yield `data`, as a source."""
    yield data


async def read_pipe(descriptor: int, size: int = BLOCK_SIZE) -> AsyncIterator[Buffer]:
    """Yield what arrives at the non-blocking pipe `descriptor`, up to `size` bytes a block.

    It never blocks: what a pipe holds, 1 MiB at most, is copied in less time than a thread takes
    to be woken. The descriptor stays the caller's to close.
    """
    ended = False
    while not ended:
        block = memoryview(bytearray(size))
        filled = 0
        while filled < size and not ended:
            await anyio.wait_readable(descriptor)
            got, ended = _drain(descriptor, block[filled:])
            filled += got
        if filled:
            yield block[:filled].toreadonly()


def _drain(descriptor: int, into: memoryview) -> tuple[int, bool]:
    """Read until `into` is full or the pipe is empty; return bytes read and whether it ended."""
    filled = 0
    while filled < len(into):
        try:
            got = os.readv(descriptor, [into[filled:]])
        except BlockingIOError:
            break
        if not got:
            return filled, True
        filled += got
    return filled, False
