"""What a workspace holds: people, channels, messages, forms; and what was seen of the app."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

import anyio

from lab.slack.limits import Data

T = TypeVar("T")
TEAM = "T0LAB"
BOT_USER = "U0BOT"
BOT_TOKEN = "xoxb-lab"  # noqa: S105
APP_TOKEN = "xapp-lab"  # noqa: S105
SIGNING_SECRET = "lab-signing-secret"  # noqa: S105


@dataclass
class PostedMessage:
    """A message in a channel, and all that it has been."""

    channel: str
    ts: str
    text: str
    blocks: list[Data]
    thread: str = ""
    broadcast: bool = False
    edited: list[float] = field(default_factory=list)
    """When, by the monotonic clock."""

    def buttons(self) -> dict[str, Data]:
        """Return the buttons, by action."""
        return buttons(self.blocks)

    def everything(self) -> str:
        """Return all text that somebody can read in it."""
        return words(self.blocks)


@dataclass
class EphemeralMessage:
    """A message that one person sees."""

    user: str
    channel: str
    text: str
    blocks: list[Data]

    def buttons(self) -> dict[str, Data]:
        """Return the buttons, by action."""
        return buttons(self.blocks)

    def everything(self) -> str:
        """Return all text that somebody can read in it."""
        return words(self.blocks)


def buttons(blocks: list[Data]) -> dict[str, Data]:
    """Return the buttons of some blocks, by action."""
    found = [one for block in blocks for one in block.get("elements", [])]
    found += [block["accessory"] for block in blocks if "accessory" in block]
    return {one["action_id"]: one for one in found if one.get("type") == "button"}


def words(data: object) -> str:
    """Return all texts in a tree, in order."""
    if isinstance(data, list):
        return " ".join(filter(None, map(words, data)))
    if not isinstance(data, dict):
        return ""
    texts = [
        value if key in {"text", "title"} and isinstance(value, str) else words(value)
        for key, value in data.items()
    ]
    return " ".join(filter(None, texts))


@dataclass
class SlackCall:
    """A call of the Web API."""

    method: str
    arguments: Data
    at: float


@dataclass
class Workspace:
    """The state. Change it, then `tell` whoever waits in `until`."""

    users: dict[str, Data] = field(default_factory=dict)
    channels: dict[str, Data] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    messages: list[PostedMessage] = field(default_factory=list)
    ephemerals: list[EphemeralMessage] = field(default_factory=list)
    views: dict[str, Data] = field(default_factory=dict)
    homes: dict[str, Data] = field(default_factory=dict)
    calls: list[SlackCall] = field(default_factory=list)
    acknowledged: list[float] = field(default_factory=list)
    """Seconds until each envelope was acknowledged."""
    missing_scopes: set[str] = field(default_factory=set)
    """Methods whose scope the app has lost."""
    plans: bool = True
    """Whether the workspace shows plan blocks."""
    _changed: anyio.Event = field(default_factory=anyio.Event)
    _numbers: Any = field(default_factory=lambda: count(1))

    def add_user(self, user: str, **more: Any) -> str:
        """Add a member; `more` is as in `users.info`."""
        email = f"{user.lower()}@example.com"
        profile = {"email": email, "real_name": user.removeprefix("U0").title()}
        known = {"id": user, "team_id": TEAM, "locale": "en-US", "is_email_confirmed": True}
        self.users[user] = known | {"profile": profile} | more
        return user

    def add_channel(self, channel: str, **more: Any) -> str:
        """Add a channel that the bot is in."""
        self.channels[channel] = {"id": channel, "name": channel.lower()} | more
        return channel

    def next_ts(self) -> str:
        """Return a new timestamp: later than all before, and no two alike."""
        return f"{int(time.time())}.{next(self._numbers):06d}"

    def notify(self) -> None:
        """Wake whoever waits for a change."""
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def until(self, met: Callable[[], T], within: float = 20) -> T:
        """Wait until `met` returns something, and return that."""
        with anyio.fail_after(within):
            while not (found := met()):
                await self._changed.wait()
        return found

    def roots(self, channel: str = "") -> list[PostedMessage]:
        """Return the messages that are in no thread."""
        found = [one for one in self.messages if not one.thread]
        return [one for one in found if channel in {"", one.channel}]

    def thread(self, message: PostedMessage) -> list[PostedMessage]:
        """Return the lines below a message."""
        return [one for one in self.messages if one.thread == message.ts]

    def message(self, channel: str, ts: str) -> PostedMessage | None:
        """Return a message."""
        found = [one for one in self.messages if (one.channel, one.ts) == (channel, ts)]
        return found[0] if found else None
