"""`/healthz` and `/readyz`: does the bot live, and do Slack's calls reach it?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
from aiohttp import web

from forensics_core.listener import listener

LOST = 120.0
"""Seconds without a connection after which a restart may help."""


class Liveness:
    """Remembers when the connection was last there."""

    def __init__(self) -> None:
        self._connected: Callable[[], Awaitable[bool]] | None = None
        self._ready: Callable[[], bool] = lambda: False
        self._last = anyio.current_time()

    def watch(self, connected: Callable[[], Awaitable[bool]], ready: Callable[[], bool]) -> None:
        """Ask these from now on; before, there is no connection."""
        self._connected, self._ready = connected, ready

    async def connected(self) -> bool:
        """Return whether it is there now."""
        there = self._connected is not None and bool(await self._connected())
        if there:
            self._last = anyio.current_time()
        return there

    async def ready(self) -> bool:
        """Return whether it is there, and the cluster is known too."""
        return await self.connected() and self._ready()

    async def alive(self) -> bool:
        """Return whether it is there, or was not long ago."""
        return await self.connected() or anyio.current_time() - self._last < LOST


@asynccontextmanager
async def health_server(port: int, liveness: Liveness) -> AsyncIterator[int]:
    """Serve for the block, and yield the port; 0 takes any free one."""

    def answer(well: bool) -> web.Response:
        return web.Response(text="ok\n" if well else "no\n", status=200 if well else 503)

    async def healthz(_: web.Request) -> web.Response:
        return answer(await liveness.alive())

    async def readyz(_: web.Request) -> web.Response:
        return answer(await liveness.ready())

    server = web.Application()
    server.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz)])
    runner = web.AppRunner(server, access_log=None)
    await runner.setup()
    try:
        await web.SockSite(runner, listener(port)).start()
        yield int(runner.addresses[0][1])
    finally:
        with anyio.move_on_after(5, shield=True):
            await runner.cleanup()
