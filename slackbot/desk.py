"""What all reports share, and the last look before anything is said in a channel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from forensics_core.kube.podcheckpoints import PodCheckpoints
from slackbot.blocks.elements import Message
from slackbot.blocks.root import Frame
from slackbot.directory import Directory
from slackbot.errors import SlackError
from slackbot.evidence import Evidence
from slackbot.slack import Slack


@dataclass
class Desk:
    """Connections and settings of the reports."""

    slack: Slack
    directory: Directory
    checkpoints: PodCheckpoints
    frame: Frame
    edit_seconds: float
    evidence: Evidence | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def post(
        self, channel: str, message: Message, *, thread: str = "", broadcast: bool = False
    ) -> str:
        """Post, if nobody from elsewhere reads the channel. Raises `SlackError`."""
        await self._keep_private(channel)
        return await self.slack.post(channel, message, thread=thread, broadcast=broadcast)

    async def update(self, channel: str, ts: str, message: Message) -> None:
        """Edit, if nobody from elsewhere reads the channel. Raises `SlackError`."""
        await self._keep_private(channel)
        await self.slack.update(channel, ts, message)

    async def _keep_private(self, channel: str) -> None:
        if (await self.directory.channel(channel)).shared:
            raise SlackError("chat.postMessage", "channel_is_shared")
