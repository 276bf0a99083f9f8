"""Sources of bytes, as asynchronous iterators of blocks."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable

from anyio import to_thread

from forensics_core.storage.objects import Buffer

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
    # Sources that read whole blocks, as most do, have nothing copied.
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def one(data: Buffer) -> AsyncIterator[Buffer]:
    """Yield `data`, as a source."""
    yield data


class BlockPool:
    """Blocks of memory that are used again once nobody looks at them any more.

    Fresh memory costs the kernel a page at a time, as much as hashing it does.
    """

    def __init__(self, size: int = BLOCK_SIZE) -> None:
        self._size = size
        self._blocks: list[bytearray] = []

    def take(self) -> memoryview:
        """Return a view of a block that is nobody's; all its slices count as being in use."""
        free = next(filter(_unseen, self._blocks), None)
        if free is None:
            free = bytearray(self._size)
            self._blocks.append(free)
        return memoryview(free)


def _unseen(block: bytearray) -> bool:
    """Whether there is no view of `block`: as long as there is one, it cannot change its size."""
    try:
        block.append(block.pop())
    except BufferError:
        return False
    return True


async def read_socket(
    stream: socket.socket, size: int = BLOCK_SIZE, begin: Callable[[], bytes] = bytes
) -> AsyncGenerator[Buffer, None]:
    """Yield what arrives at a connected, blocking stream socket, in blocks of `size` bytes.

    A whole block is one call into the kernel, in a thread. Cancelled, it leaves the thread behind:
    whoever owns the socket shuts it down. What `begin` returns, fewer bytes than a block has,
    comes first in the next one, if there is any.
    """
    pool = BlockPool(size)
    while True:
        block, head = pool.take(), begin()
        block[: len(head)] = head
        # Abandoned: the call returns when the peer says something, which a stalled one never does.
        filled = await to_thread.run_sync(_fill, stream, block[len(head) :], abandon_on_cancel=True)
        if not filled:
            return
        yield block[: len(head) + filled].toreadonly()


def _fill(stream: socket.socket, block: memoryview) -> int:
    return stream.recv_into(block, 0, socket.MSG_WAITALL)
