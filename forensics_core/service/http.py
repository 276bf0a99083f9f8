"""An HTTP server on every address of this machine, whichever families it has.

::

    async with http_server(8080, [web.get("/", hello)]) as port:
        ...
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing

import anyio
from aiohttp import web

from forensics_core.errors import UsageError

BODY_LIMIT = 1024 * 1024
"""Bytes of a request's body."""
SHUTDOWN_SECONDS = 5.0
"""How long requests under way may take once the server is closed."""


class PortUnavailable(UsageError):
    """The port cannot be listened on: another program has it, or this one may not."""


def listener(port: int) -> socket.socket:
    """Return a listening socket; 0 takes any free port. Raises `PortUnavailable`.

    A kubelet probes the pod's first address, and on an IPv6-only cluster that is no IPv4 one.
    """
    try:
        return _listen(port)
    except OSError as error:
        raise PortUnavailable(
            f"Cannot listen on port {port}: {error.strerror or error}",
            hint="Stop the program that uses it, or set another port",
        ) from error


@asynccontextmanager
async def http_server(
    port: int,
    routes: Iterable[web.RouteDef],
    *,
    tls: ssl.SSLContext | None = None,
    body_limit: int = BODY_LIMIT,
) -> AsyncIterator[int]:
    """Serve `routes` for the block, and yield the port; by HTTPS with `tls`.

    A request's body may have `body_limit` bytes. Raises `PortUnavailable`.
    """
    app = web.Application(client_max_size=body_limit)
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None)
    # aiohttp owns the socket only once the site has started: whoever is cancelled before that
    # would leave the port taken.
    with closing(listener(port)) as server:
        await runner.setup()
        try:
            await web.SockSite(runner, server, ssl_context=tls).start()
            yield int(runner.addresses[0][1])
        finally:
            with anyio.move_on_after(SHUTDOWN_SECONDS, shield=True):
                await runner.cleanup()


def _listen(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))
