"""A way over TCP to a server on loopback that counts what the server says::

with running_tap(server_port) as tap:
    ...  # use 127.0.0.1:tap.port instead
    print(tap.passed)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.from_thread import start_blocking_portal


@dataclass
class Tap:
    """The way, while it is open."""

    port: int
    passed: int = 0
    """Bytes from the server so far, headers of protocols included."""
    requests: int = 0
    """Of HTTP, without those whose first line came in two pieces."""


@asynccontextmanager
async def tap(server_port: int) -> AsyncIterator[Tap]:
    """Open a way to a port on loopback for the block."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    way = Tap(listener.extra_attributes[SocketAttribute.local_port]())

    async def serve(client: SocketStream) -> None:
        async with (
            client,
            await anyio.connect_tcp("127.0.0.1", server_port) as server,
            anyio.create_task_group() as pumps,
        ):
            pumps.start_soon(_pump, client, server, way)
            with _ends():
                async for piece in server:
                    way.passed += len(piece)
                    await client.send(piece)
            pumps.cancel_scope.cancel()

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield way
        tasks.cancel_scope.cancel()


@contextmanager
def running_tap(server_port: int) -> Iterator[Tap]:
    """Do the same as `tap`, for callers without an event loop."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(tap(server_port)) as way,
    ):
        yield way


async def _pump(client: SocketStream, server: SocketStream, way: Tap) -> None:
    with _ends():
        async for piece in client:
            way.requests += piece.count(b" HTTP/1.1\r\n")
            await server.send(piece)
        await server.send_eof()


def _ends() -> suppress:
    """Either side may go away at any time."""
    return suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)
