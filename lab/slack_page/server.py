"""The page's server: what the stand-in holds, live, and what somebody does, passed on to it.

Nothing is fetched from elsewhere: the page is a bundle that `lab/install.sh slack` has made, and
its policy lets the browser ask nobody else.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from lab.process import LabError
from lab.slack.limits import Data
from lab.slack.person import ChannelMember
from lab.slack.server import SlackServer
from lab.slack.workspace import EphemeralMessage, PostedMessage

HERE = Path(__file__).parent
BUNDLE = HERE.parents[1] / ".lab" / "node" / "bundle"
FILES = {
    "/": HERE / "index.html",
    "/logo.svg": HERE / "src" / "logo.svg",
    "/page.js": BUNDLE / "page.js",
    "/page.css": BUNDLE / "page.css",
}
POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
PageAction = Callable[[ChannelMember, Data], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class ChannelPage:
    """The page of one channel."""

    slack: SlackServer
    channel: str

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application()
        for path in FILES:
            app.router.add_get(path, _file)
        app.router.add_get("/live", self._live)
        app.router.add_post("/do/{action}", self._do)
        return app

    def state(self, user: str) -> Data:
        """Return what somebody sees."""
        workspace = self.slack.workspace
        me = user or next(iter(workspace.users))
        known = [
            {"id": one, "name": member["profile"]["real_name"]}
            for one, member in workspace.users.items()
        ]
        return {
            "me": me,
            "users": known,
            "channel": workspace.channels[self.channel]["name"],
            "messages": [_message(one) for one in workspace.messages if self._here(one)],
            "ephemerals": [
                {"number": number, "text": one.text, "blocks": one.blocks}
                for number, one in enumerate(workspace.ephemerals)
                if one.user == me
            ],
            "view": next(reversed(workspace.views.values()), None),
            "home": workspace.homes.get(me),
        }

    async def _live(self, request: web.Request) -> web.StreamResponse:
        """Send what somebody sees, again whenever it changes: server-sent events."""
        user = request.query.get("user", "")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        sent = ""

        def news() -> str:
            now = json.dumps(self.state(user))
            return "" if now == sent else now

        with suppress(ConnectionError):  # the page was closed, or somebody else looks at it
            while True:
                sent = await self.slack.workspace.until(news, math.inf)
                await response.write(f"data: {sent}\n\n".encode())
        return response

    async def _do(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":  # forms of foreign pages cannot say so
            raise web.HTTPUnsupportedMediaType
        body = await request.json()
        action = self._actions().get(request.match_info["action"])
        if action is None:
            raise web.HTTPNotFound
        try:
            answer = await action(ChannelMember(self.slack, body["user"], self.channel), body)
        except TimeoutError:
            return web.Response(status=504, text="The bot does not answer")
        return web.json_response(answer or {})

    def _actions(self) -> dict[str, PageAction]:
        return {
            "command": lambda person, body: person.type(body["text"]),
            "press": lambda person, body: person.press(self._pressed(body), body["action"]),
            "shortcut": lambda person, body: person.use_shortcut(self._at(body["ts"])),
            "choose": lambda person, body: person.choose(
                self._view(body), body["field"], **body["filled"]
            ),
            "suggest": self._suggest,
            "submit": lambda person, body: person.submit(self._view(body), **body["filled"]),
            "home": lambda person, body: person.open_home(),
        }

    async def _suggest(self, person: ChannelMember, body: Data) -> Data:
        names = await person.suggestions(self._view(body), body["field"], body["typed"])
        return {"options": names}

    def _pressed(self, body: Data) -> PostedMessage | EphemeralMessage:
        if "ephemeral" in body:
            return self.slack.workspace.ephemerals[body["ephemeral"]]
        return self._at(body["ts"])

    def _at(self, ts: str) -> PostedMessage:
        found = self.slack.workspace.message(self.channel, ts)
        if found is None:
            raise web.HTTPNotFound
        return found

    def _view(self, body: Data) -> Data:
        return self.slack.workspace.views[body["view"]]

    def _here(self, message: PostedMessage) -> bool:
        return message.channel == self.channel


@asynccontextmanager
async def running_page(slack: SlackServer, channel: str, port: int = 0) -> AsyncIterator[str]:
    """Serve the page on loopback for the block, and yield its URL; port 0 takes any free one.

    Raises `LabError` if the bundle was not made.
    """
    missing = [path.name for path in FILES.values() if not path.exists()]
    if missing:
        raise LabError(f"The page lacks {', '.join(missing)}", hint="Run lab/install.sh slack")
    app = ChannelPage(slack, channel).application()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def _file(request: web.Request) -> web.FileResponse:
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    return web.FileResponse(FILES[request.path], headers=headers)


def _message(message: PostedMessage) -> dict[str, Any]:
    return {
        "ts": message.ts,
        "blocks": message.blocks,
        "thread": message.thread,
        "broadcast": message.broadcast,
        "edits": len(message.edited),
    }
