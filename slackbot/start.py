"""The console script `forensics-slackbot`: runs the bot, or says what it lacks."""

from __future__ import annotations

from forensics_core.extras import load


def main() -> None:
    """Run it; it ends the process."""
    load("slackbot.main:main", "slack", "The bot")()
