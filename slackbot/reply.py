"""The way back to the one person who did something."""

from __future__ import annotations

from dataclasses import dataclass

from slackbot.blocks.answers import sentence
from slackbot.blocks.elements import Message
from slackbot.slack import Slack


@dataclass(frozen=True, slots=True)
class Reply:
    """Answers by the response_url where there is one: that works in every channel."""

    slack: Slack
    channel: str
    user: str
    response_url: str = ""

    async def send(self, message: Message) -> None:
        """Show a message to that person alone. Raises `SlackError`."""
        if self.response_url:
            await self.slack.answer(self.response_url, message)
        elif self.channel:
            await self.slack.whisper(self.channel, self.user, message)

    async def say(self, text: str) -> None:
        """Show a sentence."""
        await self.send(sentence(text))
