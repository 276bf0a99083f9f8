"""What all reports share: connections and settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from forensics_core.kube.podcheckpoints import PodCheckpoints
from slackbot.blocks.elements import Message
from slackbot.blocks.root import MessageOptions
from slackbot.directory import Directory
from slackbot.errors import SlackError
from slackbot.evidence import EvidenceReader
from slackbot.slack import URGENT, Slack


@dataclass
class ReportContext:
    """Connections and settings that all reports share."""

    slack: Slack
    directory: Directory
    checkpoints: PodCheckpoints
    options: MessageOptions
    edit_seconds: float
    evidence: EvidenceReader | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def post(
        self,
        channel: str,
        message: Message,
        *,
        thread: str = "",
        broadcast: bool = False,
        rank: int = URGENT,
    ) -> str:
        """Post, if nobody of another organisation reads the channel. Raises `SlackError`."""
        await self._keep_private(channel)
        return await self.slack.post(
            channel, message, thread=thread, broadcast=broadcast, rank=rank
        )

    async def update(self, channel: str, ts: str, message: Message) -> None:
        """Edit, if nobody of another organisation reads the channel. Raises `SlackError`."""
        await self._keep_private(channel)
        await self.slack.update(channel, ts, message)

    async def _keep_private(self, channel: str) -> None:
        if (await self.directory.channel(channel)).shared:
            raise SlackError("chat.postMessage", "channel_is_shared")
