"""A whole object on its way in; a large one out of a bucket over several connections::

    async with reading(bundle, expected) as blocks:
        async for block in blocks: ...

One connection is often slower than the network, and than whoever hashes what it brings.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from forensics_core._internal.tasks import task_group
from forensics_core.bundle.expected import ExpectedObject
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import DestinationError

PART = 8 * 1024 * 1024
"""Bytes that one request asks for."""
CONNECTIONS = 4
"""Parts that are there, or on their way, at once."""
WAITING = 8
"""Blocks of a part that wait to be taken: those of S3 have 1 MiB, and the last part may be longer
than anybody promised."""

Read = Callable[[int, int | None], AsyncGenerator[bytes, None]]
"""Yields bytes from a place on: as many as are asked for, or all that follow."""
_Item = bytes | DestinationError
_Part = MemoryObjectReceiveStream[_Item]


@asynccontextmanager
async def reading(
    bundle: BundleReader, expected: ExpectedObject
) -> AsyncIterator[AsyncGenerator[bytes, None]]:
    """Yield what iterates over an object's bytes, as stored, in their order.

    What reading raises comes out of the iteration, after all that lies before it.
    """

    def read(start: int, length: int | None) -> AsyncGenerator[bytes, None]:
        return bundle.read_range(expected.name, start, length)

    size = expected.size or 0
    if size <= PART or not bundle.url.startswith("s3:"):
        async with aclosing(read(0, None)) as blocks:
            yield blocks
        return
    async with in_parts(read, size) as blocks:
        yield blocks


@asynccontextmanager
async def in_parts(
    read: Read, size: int, *, part: int = PART, connections: int = CONNECTIONS
) -> AsyncIterator[AsyncGenerator[bytes, None]]:
    """Do it, by parts of `part` bytes; `size` is how many there should be in all.

    The last part is all that follows, so that whoever counts sees what nobody promised.
    """
    outlet, parts = anyio.create_memory_object_stream[_Part](connections)
    untaken = set[_Part]()
    room = anyio.Semaphore(connections)
    async with task_group() as tasks:

        async def begin() -> None:
            async with outlet:
                for start in range(0, size, part):
                    await room.acquire()
                    items, taken = anyio.create_memory_object_stream[_Item](WAITING)
                    length = part if start + part < size else None
                    tasks.start_soon(_fetch, read(start, length), items)
                    untaken.add(taken)
                    outlet.send_nowait(taken)

        tasks.start_soon(begin)
        try:
            async with aclosing(_in_order(parts, untaken, room)) as blocks:
                yield blocks
        finally:
            tasks.cancel_scope.cancel()
            outlet.close()
            for each in (parts, *untaken):
                each.close()


async def _fetch(blocks: AsyncGenerator[bytes, None], items: MemoryObjectSendStream[_Item]) -> None:
    with items, suppress(anyio.BrokenResourceError):  # nobody wants the rest
        try:
            async with aclosing(blocks):
                async for block in blocks:
                    await items.send(block)
        except DestinationError as error:
            await items.send(error)


async def _in_order(
    parts: MemoryObjectReceiveStream[_Part], untaken: set[_Part], room: anyio.Semaphore
) -> AsyncGenerator[bytes, None]:
    async for part in parts:
        with part:
            async for item in part:
                if isinstance(item, DestinationError):
                    raise item
                yield item
        untaken.discard(part)
        room.release()
