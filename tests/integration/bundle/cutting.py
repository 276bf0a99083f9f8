"""A proxy in front of a server, which cuts connections in the middle of answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream, SocketAttribute


@dataclass
class Cuts:
    """What the proxy does, and did."""

    endpoint: str
    about: bytes = b""
    """A piece of the requests whose answers are cut."""
    after: int = 0
    """Bytes of such an answer that pass, its head included."""
    left: int = 0
    """Answers that will still be cut."""
    done: int = 0


@asynccontextmanager
async def cutting_proxy(target: str) -> AsyncIterator[Cuts]:
    """Serve on loopback until the block ends."""
    where = urlsplit(target)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra_attributes[SocketAttribute.local_port]()
    cuts = Cuts(f"http://127.0.0.1:{port}")

    async def serve(client: ByteStream) -> None:
        async with client, await anyio.connect_tcp(where.hostname or "", where.port or 0) as server:
            await _Connection(cuts, client, server).serve()

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield cuts
        tasks.cancel_scope.cancel()


class _Connection:
    def __init__(self, cuts: Cuts, client: ByteStream, server: ByteStream) -> None:
        self._cuts = cuts
        self._client = client
        self._server = server
        self._may_pass: int | None = None
        """Bytes of the current answer that still pass; None: all."""

    async def serve(self) -> None:
        """Carry requests and answers until either side ends, or the cut comes."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._requests)
            await self._answers()
            tasks.cancel_scope.cancel()

    async def _requests(self) -> None:
        try:
            async for block in self._client:
                if self._cuts.left and self._cuts.about in block:
                    self._may_pass = self._cuts.after
                await self._server.send(block)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return

    async def _answers(self) -> None:
        try:
            async for block in self._server:
                await self._client.send(block[: self._may_pass])
                if self._may_pass is None:
                    continue
                self._may_pass -= len(block)
                if self._may_pass <= 0:
                    self._cuts.left -= 1
                    self._cuts.done += 1
                    return
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return
