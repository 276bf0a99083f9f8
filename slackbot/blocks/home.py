"""The bot's home: the checkpoints that somebody may see."""

from __future__ import annotations

from collections.abc import Sequence

from forensics_core.api.podcheckpoint import PodCheckpoint
from slackbot.blocks.answers import row
from slackbot.blocks.elements import button, header, section
from slackbot.blocks.limits import Block
from slackbot.bookmark import Bookmark
from slackbot.catalogue import say

RECENT = 15
"""Ended ones that are shown."""
OPEN = 30
"""Open ones that are shown."""


def home_view(checkpoints: Sequence[PodCheckpoint], language: str, workspace: str) -> Block:
    """Return the home for somebody who may see `checkpoints`, the newest first.

    `workspace` is its address, which messages' addresses begin with.
    """
    open_ones = [one for one in checkpoints if not one.finished][:OPEN]
    recent = [one for one in checkpoints if one.finished][:RECENT]
    blocks = [
        header(say(language, "home.title")),
        section(say(language, "home.hint")),
        *_part("home.open", open_ones, language, workspace),
        *_part("home.recent", recent, language, workspace),
    ]
    return {"type": "home", "blocks": blocks}


def refused_home(text: str, language: str) -> Block:
    """Return the home for somebody who may see nothing."""
    return {"type": "home", "blocks": [header(say(language, "home.title")), section(text)]}


def _part(
    key: str, checkpoints: Sequence[PodCheckpoint], language: str, workspace: str
) -> list[Block]:
    rows = [section(row(one, language), _opener(one, language, workspace)) for one in checkpoints]
    return [header(say(language, key)), *(rows or [section(say(language, "home.none"))])]


def _opener(checkpoint: PodCheckpoint, language: str, workspace: str) -> Block | None:
    """Return the button that leads to a checkpoint's message, if it has one."""
    place = Bookmark.of(checkpoint)
    if not place.message:
        return None
    url = f"{workspace}archives/{place.channel}/p{place.message.replace('.', '')}"
    return button(f"open-{checkpoint.metadata.name}", say(language, "button.open"), "", url=url)
