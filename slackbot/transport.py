"""How Slack's calls come in: over a socket that the bot opens, or by HTTP."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse

from slackbot.errors import SlackError
from slackbot.settings import Settings
from slackbot.slack import Slack

log = logging.getLogger(__name__)

PATH = "/slack/events"
REMEMBERED = 10_000
"""Envelopes whose ids are kept."""
PING = 5
"""Seconds between signs of life on the socket."""
GOODBYE = 5
"""Seconds that closing may take."""

Connected = Callable[[], Any]
"""An async function that says whether Slack's calls get through."""


class SocketHandler(AsyncSocketModeHandler):
    """Hands envelopes on once each: Slack sends one again where it missed the acknowledgement."""

    def __init__(self, app: AsyncApp, app_token: str) -> None:
        super().__init__(app, app_token, ping_interval=PING)
        self._seen: OrderedDict[str, None] = OrderedDict()

    async def handle(  # type: ignore[override]  # the base class narrows the first argument too
        self, client: SocketModeClient, req: SocketModeRequest
    ) -> None:
        """Acknowledge a duplicate, and leave it at that; hand on everything else."""
        if req.envelope_id in self._seen:
            await client.send_socket_mode_response(SocketModeResponse(req.envelope_id))
            return
        self._seen[req.envelope_id] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        await super().handle(client, req)


@asynccontextmanager
async def listening(app: AsyncApp, slack: Slack, settings: Settings) -> AsyncIterator[Connected]:
    """Take Slack's calls for the block; yields what says whether they get through.

    Raises `SlackError` where Slack refuses the token for the socket.
    """
    if settings.transport == "http":
        async with _http(app, settings) as connected:
            yield connected
        return
    token = settings.app_token.get_secret_value() if settings.app_token else ""
    address = await _address(slack, token)
    handler = SocketHandler(app, token)
    handler.client.wss_uri = address
    try:
        await handler.connect_async()  # type: ignore[no-untyped-call]  # slack_bolt's
        yield handler.client.is_connected
    finally:
        with anyio.move_on_after(GOODBYE, shield=True):
            await handler.close_async()  # type: ignore[no-untyped-call]  # slack_bolt's


async def _address(slack: Slack, token: str) -> str | None:
    """Return the first socket's: the handler would try a wrong token for ever, and say nothing."""
    try:
        return await slack.ask_for_socket(token)
    except SlackError as error:
        if not error.passing:
            raise
        log.warning("The socket is tried again: %s", error)
        return None


@asynccontextmanager
async def _http(app: AsyncApp, settings: Settings) -> AsyncIterator[Connected]:
    async def events(request: web.Request) -> web.Response:
        answer = await app.async_dispatch(await to_bolt_request(request))
        return await to_aiohttp_response(answer)

    async def connected() -> bool:
        return True

    server = web.Application()
    server.add_routes([web.post(PATH, events)])
    runner = web.AppRunner(server, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", settings.port).start()  # noqa: S104
        yield connected
    finally:
        with anyio.move_on_after(GOODBYE, shield=True):
            await runner.cleanup()
