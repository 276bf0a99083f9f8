"""`/healthz`, `/readyz` and `/metrics`: what the kubelet and Prometheus ask for."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
from aiohttp import web

from forensics_core.errors import UsageError
from forensics_core.service.http import PortUnavailable, http_server

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
"""The content type of Prometheus's text format."""

Check = Callable[[], Awaitable[bool]]


class Contact:
    """Remembers when somebody we depend on was last heard, and whether that is recent."""

    def __init__(self, seconds: float, now: Callable[[], float] = anyio.current_time) -> None:
        self._seconds = seconds
        self._now = now
        self._last = -math.inf

    def heard(self) -> None:
        """Note that they were heard now."""
        self._last = self._now()

    @property
    def recent(self) -> bool:
        """Whether they were heard within the last `seconds`."""
        return self._now() - self._last < self._seconds


@asynccontextmanager
async def health_server(
    port: int,
    *,
    ready: Check,
    alive: Check | None = None,
    metrics: Callable[[], bytes] | None = None,
) -> AsyncIterator[int]:
    """Serve on `port` for the block, and yield the port; 0 takes any free one.

    `/readyz` says 503 until `ready` holds, `/healthz` while `alive` does not: without it, it
    answers as long as the event loop runs. Raises `UsageError` if the port is taken.
    """
    routes = [web.get("/healthz", _probe(alive or _always)), web.get("/readyz", _probe(ready))]
    if metrics:
        routes.append(web.get("/metrics", _exposition(metrics)))
    try:
        async with http_server(port, routes) as served:
            yield served
    except PortUnavailable as error:
        raise UsageError(
            f"The port {port} cannot be served: {error.message}",
            hint="Set healthPort to another one",
        ) from error


async def _always() -> bool:
    return True


def _probe(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def probe(_: web.Request) -> web.Response:
        if await check():
            return web.Response(text="ok\n")
        return web.Response(text="no\n", status=503)

    return probe


def _exposition(metrics: Callable[[], bytes]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": EXPOSITION})

    return exposition
