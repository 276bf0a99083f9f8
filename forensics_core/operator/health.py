"""`/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

import math
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager

import anyio
from aiohttp import web

from forensics_core.errors import UsageError
from forensics_core.listener import PortUnavailable, listener
from forensics_core.operator.metrics import Metrics

RECENT = 15.0
"""Seconds for which an answer of the API server shows that it can be reached."""
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


class Contact:
    """Remembers when the API server last answered."""

    def __init__(self) -> None:
        self._last = -math.inf

    def heard(self) -> None:
        """Note that it did now."""
        self._last = anyio.current_time()

    @property
    def recent(self) -> bool:
        """Whether it did within the last `RECENT` seconds."""
        return anyio.current_time() - self._last < RECENT


@asynccontextmanager
async def health_server(
    port: int, metrics: Metrics, ready: Callable[[], bool]
) -> AsyncIterator[int]:
    """Serve on `port` for the block, and yield the port; 0 takes any free one.

    `/healthz` answers as long as the event loop runs; `/readyz` says 503 until `ready` holds.
    Raises `UsageError` if the port is taken.
    """

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if ready() else web.Response(text="no\n", status=503)

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": EXPOSITION})

    app = web.Application()
    routes = {"/healthz": healthz, "/readyz": readyz, "/metrics": exposition}
    app.add_routes([web.get(path, handler) for path, handler in routes.items()])
    runner = web.AppRunner(app, access_log=None)
    with _listening(port) as server:
        await runner.setup()
        try:
            await web.SockSite(runner, server).start()
            yield int(runner.addresses[0][1])
        finally:
            with anyio.CancelScope(shield=True):
                await runner.cleanup()


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    """Hold the port for the block: whoever is cancelled while the server starts gives it back."""
    try:
        server = listener(port)
    except PortUnavailable as error:
        raise UsageError(
            f"The port {port} cannot be served: {error.message}",
            hint="Set healthPort to another one",
        ) from error
    with closing(server):
        yield server
