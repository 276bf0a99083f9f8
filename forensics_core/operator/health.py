"""`/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
from aiohttp import web

from forensics_core.errors import UsageError
from forensics_core.listener import listener
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
    await runner.setup()
    try:
        try:
            await web.SockSite(runner, listener(port)).start()
        except OSError as error:
            raise UsageError(
                f"The port {port} cannot be served: {error}", hint="Set healthPort to another one"
            ) from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
