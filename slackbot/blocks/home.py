"""The bot's home: the checkpoints that somebody may see."""

from __future__ import annotations

from collections.abc import Sequence

from forensics_core.api.podcheckpoint import PodCheckpoint
from slackbot.blocks.answers import row
from slackbot.blocks.elements import header, rich, section, words
from slackbot.blocks.limits import Block
from slackbot.catalogue import say

RECENT = 15
"""Ended ones that are shown."""
OPEN = 30
"""Open ones that are shown."""


def home_view(checkpoints: Sequence[PodCheckpoint], language: str) -> Block:
    """Return the home for somebody who may see `checkpoints`, the newest first."""
    open_ones = [one for one in checkpoints if not one.finished][:OPEN]
    recent = [one for one in checkpoints if one.finished][:RECENT]
    blocks = [
        header(say(language, "home.title")),
        section(say(language, "home.hint")),
        *_part("home.open", open_ones, language),
        *_part("home.recent", recent, language),
    ]
    return {"type": "home", "blocks": blocks}


def refused_home(text: str, language: str) -> Block:
    """Return the home for somebody who may see nothing."""
    return {"type": "home", "blocks": [header(say(language, "home.title")), section(text)]}


def _part(key: str, checkpoints: Sequence[PodCheckpoint], language: str) -> list[Block]:
    lines = [[words(row(one, language))] for one in checkpoints]
    return [
        header(say(language, key)),
        rich(*(lines or [[words(say(language, "home.none"))]])),
    ]
