"""The stand-in's server: the Web API by GET and POST, the socket, response_url."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
import anyio
from aiohttp import WSMsgType, web

from lab.slack.faults import SlackFault, SlackFaults
from lab.slack.limits import Data, message_refusal, options_refused
from lab.slack.methods import MethodError, Methods
from lab.slack.rates import Rates
from lab.slack.workspace import (
    APP_TOKEN,
    BOT_TOKEN,
    SIGNING_SECRET,
    EphemeralMessage,
    SlackCall,
    Workspace,
)

RESPONSE_URL_USES = 5
"""How often a response_url may be used."""
RESPONSE_URL_SECONDS = 30 * 60.0
"""Seconds for which it may be used."""
ACKNOWLEDGE_SECONDS = 3.0
"""Seconds after which an acknowledgement is given up, and the user is told that the app failed."""


@dataclass
class ResponseUrl:
    """A response_url."""

    user: str
    channel: str
    used: int = 0
    made: float = field(default_factory=time.monotonic)

    @property
    def usable(self) -> bool:
        """Whether another answer is taken."""
        return self.used < RESPONSE_URL_USES and time.monotonic() - self.made < RESPONSE_URL_SECONDS


@dataclass
class SlackServer:
    """A running stand-in."""

    workspace: Workspace = field(default_factory=Workspace)
    faults: SlackFaults = field(default_factory=SlackFaults)
    port: int = 0
    events_url: str = ""
    """Where to send by HTTP instead of over the socket."""
    rates: Rates | None = field(default_factory=Rates)
    """None: it may be called as often as one likes, for tests that are about something else."""
    acknowledge_seconds: float = ACKNOWLEDGE_SECONDS
    response_urls: dict[str, ResponseUrl] = field(default_factory=dict)
    _sockets: list[web.WebSocketResponse] = field(default_factory=list)
    _waiting: dict[str, asyncio.Future[Data]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.methods = Methods(self.workspace, lambda: self.url)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_url(self) -> str:
        """The bot's setting `apiUrl`."""
        return f"{self.url}/api/"

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application()
        app.add_routes(
            [
                web.route("*", "/api/{method}", self._api),
                web.get("/link", self._link),
                web.post("/respond/{key}", self._respond),
            ]
        )
        return app

    def new_trigger(self) -> str:
        """Return a trigger id that is good for three seconds."""
        trigger = secrets.token_hex(8)
        self.methods.triggers[trigger] = time.monotonic()
        return trigger

    def new_response_url(self, user: str, channel: str) -> str:
        """Return a response_url."""
        key = secrets.token_hex(8)
        self.response_urls[key] = ResponseUrl(user, channel)
        return f"{self.url}/respond/{key}"

    async def deliver(self, kind: str, payload: Data, *, copies: int = 1) -> Data:
        """Send an envelope, and return what its acknowledgement bore."""
        began = time.monotonic()
        if self.events_url:
            answer = await self._deliver_by_http(kind, payload)
        else:
            answer = await self._deliver_by_socket(kind, payload, copies)
        self.workspace.acknowledged.append(time.monotonic() - began)
        if options_refused(answer.get("options", [])):
            raise AssertionError(f"Slack would show none of these: {answer}")
        return answer

    async def _deliver_by_socket(self, kind: str, payload: Data, copies: int) -> Data:
        number = secrets.token_hex(8)
        envelope = {"type": kind, "envelope_id": number, "payload": payload}
        waiting: asyncio.Future[Data] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        await self.workspace.until(lambda: self._sockets)
        for _ in range(copies):
            await self._sockets[-1].send_json(envelope)
        with anyio.fail_after(self.acknowledge_seconds):
            return dict(await waiting)

    async def _deliver_by_http(self, kind: str, payload: Data) -> Data:
        body, content_type = _encoded(kind, payload)
        at = str(int(time.time()))
        signed = hmac.new(SIGNING_SECRET.encode(), f"v0:{at}:{body}".encode(), hashlib.sha256)
        headers = {
            "Content-Type": content_type,
            "X-Slack-Request-Timestamp": at,
            "X-Slack-Signature": f"v0={signed.hexdigest()}",
        }
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.events_url, data=body, headers=headers) as response,
        ):
            text = await response.text()
            if response.status != 200:
                raise AssertionError(f"HTTP {response.status}: {text}")
            return dict(json.loads(text)) if text.startswith("{") else {}

    async def close_sockets(self) -> None:
        """Close the sockets, as Slack does now and then."""
        for socket in list(self._sockets):
            await socket.close()

    async def refresh_sockets(self) -> None:
        """Ask the app to come back by another socket, as Slack does before it hangs up."""
        for socket in list(self._sockets):
            await socket.send_json({"type": "disconnect", "reason": "refresh_requested"})

    async def _link(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "hello", "num_connections": len(self._sockets) + 1})
        self._sockets.append(socket)
        self.workspace.notify()
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._acknowledged(json.loads(message.data))
        finally:
            self._sockets.remove(socket)
        return socket

    def _acknowledged(self, answer: Data) -> None:
        waiting = self._waiting.get(answer.get("envelope_id", ""))
        if waiting and not waiting.done():
            waiting.set_result(answer.get("payload") or {})

    async def _api(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        fault = self.faults.take(method)
        if fault and fault.status != 200:
            return _failing(fault)
        arguments = await _arguments(request)
        self.workspace.calls.append(SlackCall(method, arguments, time.monotonic()))
        try:
            if fault:
                raise MethodError(fault.error)
            token = APP_TOKEN if method == "apps.connections.open" else BOT_TOKEN
            if request.headers.get("Authorization") != f"Bearer {token}":
                raise MethodError("invalid_auth")
            wait = self.rates.take(method, arguments.get("channel", "")) if self.rates else 0
            if wait:
                return _failing(SlackFault(method, status=429, retry_after=wait))
            answer: Data = {"ok": True} | self.methods.answer(method, arguments)
        except MethodError as refusal:
            answer = {"ok": False, "error": str(refusal)}
        self.workspace.notify()
        return web.json_response(answer)

    async def _respond(self, request: web.Request) -> web.Response:
        fault = self.faults.take("response_url")
        if fault:
            self.workspace.notify()
            return _failing(fault)
        url = self.response_urls.get(request.match_info["key"])
        body = await request.json()
        if url is None or not url.usable:
            return web.json_response({"ok": False, "error": "used_url"}, status=404)
        if message_refusal(body["text"], body["blocks"]):
            return web.json_response({"ok": False, "error": "invalid_blocks"}, status=400)
        url.used += 1
        ephemeral = EphemeralMessage(url.user, url.channel, body["text"], body["blocks"])
        self.workspace.ephemerals.append(ephemeral)
        self.workspace.notify()
        return web.json_response({"ok": True})


@asynccontextmanager
async def running_slack(port: int = 0) -> AsyncIterator[SlackServer]:
    """Run a stand-in for the block; port 0 takes any free one."""
    server = SlackServer()
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        server.port = int(runner.addresses[0][1])
        yield server
    finally:
        await server.close_sockets()
        await runner.cleanup()


def _failing(fault: SlackFault) -> web.Response:
    headers = {"Retry-After": str(fault.retry_after)} if fault.status == 429 else {}
    answer = {"ok": False, "error": fault.error or "ratelimited"}
    return web.json_response(answer, status=fault.status, headers=headers)


async def _arguments(request: web.Request) -> Data:
    given: Data = dict(request.query)
    if request.content_type == "application/json":
        given |= await request.json()
    else:
        given |= dict(await request.post())
    return given


def _encoded(kind: str, payload: Data) -> tuple[str, str]:
    """Return the body of a request as Slack sends it by HTTP, and its type."""
    if kind == "events_api":
        return json.dumps(payload), "application/json"
    fields: Any = payload if kind == "slash_commands" else {"payload": json.dumps(payload)}
    return urlencode(fields), "application/x-www-form-urlencoded"
