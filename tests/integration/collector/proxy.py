"""A way over TCP to an engine's socket, that can be cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import anyio
from anyio.abc import SocketAttribute, SocketStream

from lab.docker import DockerEngine


@dataclass
class Proxy:
    """The way, while it is open."""

    host: str
    """`tcp://127.0.0.1:PORT`."""
    scope: anyio.CancelScope

    def cut(self) -> None:
        """Drop every connection, and accept no more."""
        self.scope.cancel()


@asynccontextmanager
async def proxy(engine: DockerEngine) -> AsyncIterator[Proxy]:
    """Make the engine's socket reachable over TCP for the block."""

    async def serve(client: SocketStream) -> None:
        path = engine.host.removeprefix("unix://")
        async with (
            client,
            await anyio.connect_unix(path) as server,
            anyio.create_task_group() as pumps,
        ):
            pumps.start_soon(_pump, client, server)
            await _pump(server, client)
            pumps.cancel_scope.cancel()

    scope = anyio.CancelScope()

    async def listen(listener: anyio.abc.Listener[SocketStream]) -> None:
        with scope:
            async with listener:
                await listener.serve(serve)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra_attributes[SocketAttribute.local_port]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen, listener)
        yield Proxy(f"tcp://127.0.0.1:{port}", scope)
        scope.cancel()


async def _pump(source: SocketStream, sink: SocketStream) -> None:
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while True:
            await sink.send(await source.receive())
