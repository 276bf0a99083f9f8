"""Slack's Web API as the bot uses it: few methods, our errors, and never too fast.

Everything that is sent is held against Slack's limits first: an error there is ours, and is
found here.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import anyio
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient

from slackbot.blocks.elements import Message, sentence
from slackbot.blocks.limits import Block, message_problems, view_problems
from slackbot.errors import SlackError
from slackbot.settings import Settings

TRANSIENT = {
    *("ratelimited", "internal_error", "fatal_error"),
    *("service_unavailable", "request_timeout"),
}
"""Errors of Slack's that pass: the same call may succeed later."""
RESPONSE_ATTEMPTS = 3
"""How often an answer to a response_url is tried: it may be used five times in all."""
TIMEOUT = 15
"""Seconds for one call."""

URGENT, ORDINARY, LATE = 0, 1, 2
"""Ranks of those who wait: the lower goes first. LATE is for what was over when the bot began."""
POLL_SECONDS = 0.005
"""Seconds after which whoever is not the first looks again."""


class Throttle:
    """Calls that are at least `seconds` apart: the urgent first, else first come, first served."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = float("-inf")
        self._waiting: list[tuple[int, int]] = []
        self._numbers = itertools.count()

    async def wait_turn(self, rank: int = ORDINARY) -> None:
        """Return when it is the caller's turn."""
        ticket = (rank, next(self._numbers))
        heapq.heappush(self._waiting, ticket)
        try:
            while self._waiting[0] != ticket or anyio.current_time() < self._next:  # noqa: ASYNC110
                # Time passes, and no event with it.
                await anyio.sleep(max(self._next - anyio.current_time(), POLL_SECONDS))
            self._next = anyio.current_time() + self._seconds
        finally:
            self._waiting.remove(ticket)
            heapq.heapify(self._waiting)


@dataclass(frozen=True, slots=True)
class BotIdentity:
    """The bot, as Slack knows it."""

    team: str
    user: str
    bot: str
    url: str
    """The workspace's address, ending in `/`."""


@dataclass
class Slack:
    """One workspace, as the bot."""

    client: AsyncWebClient
    session: aiohttp.ClientSession
    post_seconds: float = 1.0
    updates: Throttle = field(default_factory=lambda: Throttle(0))
    """The turns of edits."""
    _posts: dict[str, Throttle] = field(default_factory=dict)

    async def identify(self) -> BotIdentity:
        """Return who the token says that we are. Raises `SlackError`."""
        answer = await self.call("auth.test")
        return BotIdentity(
            answer["team_id"], answer["user_id"], answer.get("bot_id", ""), answer["url"]
        )

    async def call(self, method: str, **arguments: Any) -> Mapping[str, Any]:
        """Call a method. Raises `SlackError`."""
        return await self._call(method, json=arguments)

    async def look_up(self, method: str, **arguments: str) -> Mapping[str, Any]:
        """Call a method that reads, with its arguments in the query: those take no JSON."""
        return await self._call(method, http_verb="GET", params=arguments)

    async def open_socket(self, app_token: str) -> str:
        """Return the address of a new socket. Raises `SlackError`."""
        headers = {"Authorization": f"Bearer {app_token}"}
        return str((await self._call("apps.connections.open", headers=headers))["url"])

    async def _call(self, method: str, **how: Any) -> Mapping[str, Any]:
        try:
            answer = await self.client.api_call(method, **how)
        except SlackApiError as error:
            raise _failure(method, error) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why = str(error) or type(error).__name__
            raise SlackError(method, why, transient=True, away=True) from error
        data: Mapping[str, Any] = answer.data  # type: ignore[assignment]  # bytes: analytics only
        return data

    async def post(
        self,
        channel: str,
        message: Message,
        *,
        thread: str = "",
        broadcast: bool = False,
        rank: int = URGENT,
    ) -> str:
        """Post a message, or a line in a thread; returns its timestamp, which names it."""
        _check("chat.postMessage", message_problems(message.blocks))
        await self._posts.setdefault(channel, Throttle(self.post_seconds)).wait_turn(rank)
        # No previews: Slack would fetch addresses that come from strangers.
        more: dict[str, Any] = {"unfurl_links": False, "unfurl_media": False}
        if thread:
            more |= {"thread_ts": thread, "reply_broadcast": broadcast}
        answer = await self.call("chat.postMessage", channel=channel, **message.payload(), **more)
        return str(answer["ts"])

    async def update(self, channel: str, ts: str, message: Message) -> None:
        """Replace a message; text and blocks always go together."""
        _check("chat.update", message_problems(message.blocks))
        await self.call("chat.update", channel=channel, ts=ts, **message.payload())

    async def post_ephemeral(self, channel: str, user: str, message: Message) -> None:
        """Show a message to one person in a channel."""
        _check("chat.postEphemeral", message_problems(message.blocks))
        await self.call("chat.postEphemeral", channel=channel, user=user, **message.payload())

    async def respond(self, response_url: str, message: Message) -> None:
        """Answer a command or a click, for whoever made it; works in every channel."""
        _check("response_url", message_problems(message.blocks))
        body = message.payload() | {"response_type": "ephemeral", "replace_original": False}
        for attempt in range(1, RESPONSE_ATTEMPTS + 1):
            pause = await self._respond(response_url, body)
            if pause is None:
                return
            if attempt < RESPONSE_ATTEMPTS:
                await anyio.sleep(pause)
        raise SlackError("response_url", "no_answer", transient=True)

    async def _respond(self, response_url: str, body: Block) -> float | None:
        """Try once; returns how long to wait before the next time, None if it worked."""
        try:
            async with self.session.post(response_url, json=body) as response:
                # The SDK retries API calls itself; a response_url is none.
                if response.status == 429:
                    return float(response.headers.get("Retry-After", "1"))
                if response.status >= 500:
                    return 0.5
                if response.status >= 400:
                    raise SlackError("response_url", f"HTTP {response.status}")
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0.5
        return None

    async def open_view(self, trigger: str, view: Block) -> str:
        """Open a form; returns its id."""
        _check("views.open", view_problems(view))
        answer = await self.call("views.open", trigger_id=trigger, view=view)
        return str(answer["view"]["id"])

    async def update_view(self, view_id: str, view: Block) -> None:
        """Replace an open form."""
        _check("views.update", view_problems(view))
        await self.call("views.update", view_id=view_id, view=view)

    async def publish_home(self, user: str, view: Block) -> None:
        """Show somebody's home."""
        _check("views.publish", view_problems(view))
        await self.call("views.publish", user_id=user, view=view)

    async def permalink(self, channel: str, ts: str) -> str:
        """Return a message's address."""
        found = await self.look_up("chat.getPermalink", channel=channel, message_ts=ts)
        return str(found["permalink"])


@dataclass(frozen=True, slots=True)
class Reply:
    """The way back to one person: by the response_url where there is one, in every channel."""

    slack: Slack
    channel: str
    user: str
    response_url: str = ""

    async def send(self, message: Message) -> None:
        """Show a message to that person alone. Raises `SlackError`."""
        if self.response_url:
            await self.slack.respond(self.response_url, message)
        elif self.channel:
            await self.slack.post_ephemeral(self.channel, self.user, message)

    async def send_text(self, text: str) -> None:
        """Show a sentence."""
        await self.send(sentence(text))


@asynccontextmanager
async def slack_connection(settings: Settings) -> AsyncIterator[Slack]:
    """Open the connections that all calls share."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    # trust_env: the proxy of HTTPS_PROXY, as clusters rarely reach the internet directly.
    async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
        client = AsyncWebClient(
            token=settings.bot_token.get_secret_value(),
            base_url=settings.api_url,
            session=session,
            retry_handlers=[AsyncRateLimitErrorRetryHandler(max_retry_count=5)],
        )
        yield Slack(client, session, settings.post_seconds, Throttle(settings.update_seconds))


def _failure(method: str, error: SlackApiError) -> SlackError:
    response: Any = error.response
    status = getattr(response, "status_code", 0)
    said = response.data if isinstance(getattr(response, "data", None), dict) else {}
    code = str(said.get("error") or f"HTTP {status}")
    return SlackError(method, code, transient=code in TRANSIENT or status == 429 or status >= 500)


def _check(method: str, found: list[str]) -> None:
    if found:
        raise SlackError(method, f"invalid_blocks ({found[0]})")
