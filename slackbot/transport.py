"""How Slack's calls come in: over a socket that the bot opens, or by HTTP; and whether they do."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.signature import SignatureVerifier
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse

from forensics_core.service.health import Contact
from forensics_core.service.http import http_server
from slackbot.errors import SlackError
from slackbot.settings import Settings
from slackbot.slack import Slack

log = logging.getLogger(__name__)

PATH = "/slack/events"
SEEN_LIMIT = 10_000
"""Envelopes and requests that are remembered, so as to know them when they come again."""
PING_SECONDS = 5
"""Seconds between signs of life on the socket."""
CLOSE_SECONDS = 5
"""Seconds that closing may take."""
LOST_SECONDS = 120.0
"""Seconds without a connection after which a restart may help."""

Connected = Callable[[], Any]
"""An async function that returns whether Slack's calls get through."""


class Liveness:
    """Remembers when the connection was last there."""

    def __init__(self) -> None:
        self._connected: Callable[[], Awaitable[bool]] | None = None
        self._ready: Callable[[], bool] = lambda: False
        self._contact = Contact(LOST_SECONDS)
        # It starts well: whoever has not connected yet gets as long as whoever lost it.
        self._contact.heard()

    def watch(self, connected: Callable[[], Awaitable[bool]], ready: Callable[[], bool]) -> None:
        """Ask these from now on; before, there is no connection."""
        self._connected, self._ready = connected, ready

    async def connected(self) -> bool:
        """Return whether it is there now."""
        there = self._connected is not None and bool(await self._connected())
        if there:
            self._contact.heard()
        return there

    async def ready(self) -> bool:
        """Return whether it is there, and the cluster is known too."""
        return await self.connected() and self._ready()

    async def alive(self) -> bool:
        """Return whether it is there, or was not long ago."""
        return await self.connected() or self._contact.recent


class SeenKeys:
    """The last `most` keys that were seen: Slack sends again what it thinks was lost."""

    def __init__(self, most: int = SEEN_LIMIT) -> None:
        self._most = most
        self._keys: OrderedDict[str, None] = OrderedDict()

    def add(self, key: str) -> bool:
        """Remember `key`, and return whether it is new."""
        if key in self._keys:
            return False
        self._keys[key] = None
        if len(self._keys) > self._most:
            self._keys.popitem(last=False)
        return True

    def forget(self, key: str) -> None:
        """Take `key` for new when it comes again."""
        self._keys.pop(key, None)


class HttpHandler:
    """Hands signed requests on once each, however often they are sent."""

    def __init__(self, app: AsyncApp, secret: str) -> None:
        self._app = app
        self._verifier = SignatureVerifier(secret)
        self._seen = SeenKeys()

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a request; one that was taken before is acknowledged, and no more."""
        body, call = await request.read(), await to_bolt_request(request)
        # By Bolt's own view of the headers: it decides by it, and one of them may come twice.
        key = self._key({name: values[0] for name, values in call.headers.items()}, body)
        if key is not None and not self._seen.add(key):
            return web.Response()
        # Taken as seen before it is handled: a retry may arrive while the first is under way.
        done = False
        try:
            answer = await self._app.async_dispatch(call)
            done = answer.status < 500
            return await to_aiohttp_response(answer)
        finally:
            # Slack sends again what failed.
            if key is not None and not done:
                self._seen.forget(key)

    def _key(self, headers: dict[str, str], body: bytes) -> str | None:
        # Slack signs a retry anew, with another time: its body is what stays the same. Bodies
        # without one of these ids, such as what is typed into a list, may rightly come twice.
        if b"trigger_id" not in body and b"event_id" not in body:
            return None
        # Whoever cannot sign must not fill the memory, nor make a request known before it comes.
        if not self._verifier.is_valid_request(body, headers):
            return None
        return hashlib.sha256(body).hexdigest()


class SocketHandler(AsyncSocketModeHandler):
    """Hands envelopes on once each: Slack sends one again where it missed the acknowledgement."""

    def __init__(self, app: AsyncApp, app_token: str) -> None:
        super().__init__(app, app_token, ping_interval=PING_SECONDS)
        self._seen = SeenKeys()

    async def handle(  # type: ignore[override]  # the base class narrows the first argument too
        self, client: SocketModeClient, req: SocketModeRequest
    ) -> None:
        """Acknowledge a duplicate, and leave it at that; hand on everything else."""
        if not self._seen.add(req.envelope_id):
            await client.send_socket_mode_response(SocketModeResponse(req.envelope_id))
            return
        await super().handle(client, req)


@asynccontextmanager
async def listening(app: AsyncApp, slack: Slack, settings: Settings) -> AsyncIterator[Connected]:
    """Take Slack's calls for the block; yields the check whether they get through.

    Raises `SlackError` where Slack refuses the token for the socket.
    """
    if settings.transport == "http":
        async with _http(app, settings) as connected:
            yield connected
        return
    token = settings.app_token.get_secret_value() if settings.app_token else ""
    address = await _address(slack, token)
    handler = SocketHandler(app, token)
    # The address that was just fetched: the handler need not ask for another one.
    handler.client.wss_uri = address
    try:
        await handler.connect_async()  # type: ignore[no-untyped-call]  # slack_bolt's
        yield handler.client.is_connected
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await handler.close_async()  # type: ignore[no-untyped-call]  # slack_bolt's


async def _address(slack: Slack, token: str) -> str | None:
    """Return the first socket's: with a wrong token the handler would try for ever, in silence."""
    try:
        return await slack.open_socket(token)
    except SlackError as error:
        if not error.transient:
            raise
        log.warning("The socket cannot be opened; trying again: %s", error)
        return None


@asynccontextmanager
async def _http(app: AsyncApp, settings: Settings) -> AsyncIterator[Connected]:
    secret = settings.signing_secret.get_secret_value() if settings.signing_secret else ""
    handler = HttpHandler(app, secret)

    async def connected() -> bool:
        return True

    async with http_server(settings.port, [web.post(PATH, handler.handle)]):
        yield connected
