"""The small parts that everything is made of.

Whatever comes from outside passes `plain` or `words`, which clean and cut it. Markup appears in
`mention` alone, whose argument is an id and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from slackbot.blocks.limits import HEADER, SECTION, Block, Blocks
from slackbot.text import clean, escape

CELL = 300
"""Characters of a table's cell that are shown."""
_USER = re.compile(r"[UW][A-Z0-9]{1,30}")


@dataclass(frozen=True, slots=True)
class Message:
    """A message: the text for notifications, and the blocks that are shown."""

    text: str
    blocks: Blocks

    def payload(self) -> Block:
        """Return both as arguments of a call. An update without blocks would remove them."""
        return {"text": escape(clean(self.text, 1000)), "blocks": self.blocks}


def plain(text: object, limit: int = SECTION) -> Block:
    """Return text that Slack shows as it is."""
    # Slack refuses empty text. No emoji: colons in a text from outside are just colons.
    return {"type": "plain_text", "text": clean(text, limit) or "-", "emoji": False}


def header(text: str) -> Block:
    """Return a title."""
    return {"type": "header", "text": plain(text, HEADER)}


def section(text: str, accessory: Block | None = None) -> Block:
    """Return a paragraph, with a button beside it."""
    block: Block = {"type": "section", "text": plain(text)}
    return block | ({"accessory": accessory} if accessory else {})


def sentence(text: str) -> Message:
    """Return a message of one sentence."""
    return Message(text, [section(text)])


def context(*elements: Block) -> Block:
    """Return a line of small print."""
    return {"type": "context", "elements": list(elements)}


def mention(label: str, user: str) -> Block:
    """Return small print that names a Slack user, by mention if the id is one."""
    if not _USER.fullmatch(user):
        return plain(f"{label} {user}", 200)
    return {"type": "mrkdwn", "text": f"{escape(clean(label, 100))} <@{user}>"}


def span(text: object, *, bold: bool = False, code: bool = False) -> Block:
    """Return a piece of a line."""
    style = {name: True for name, wanted in (("bold", bold), ("code", code)) if wanted}
    piece: Block = {"type": "text", "text": clean(text, 1500) or "-"}
    return piece | ({"style": style} if style else {})


def space() -> Block:
    """Return what stands between two pieces of a line."""
    return {"type": "text", "text": " "}


def user(user_id: str) -> Block:
    """Return a mention as a piece of a line."""
    if not _USER.fullmatch(user_id):
        return span(user_id)
    return {"type": "user", "user_id": user_id}


def rich_text(*lines: Sequence[Block]) -> Block:
    """Return a paragraph of lines, each of them pieces."""
    pieces: Blocks = []
    for line in lines:
        pieces += [*([{"type": "text", "text": "\n"}] if pieces else []), *line]
    return {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": pieces}]}


def table(rows: Sequence[Sequence[str]]) -> Block:
    """Return a table; the first row is its head."""
    cells = [
        [{"type": "raw_text", "text": clean(text, CELL) or "-"} for text in row] for row in rows
    ]
    return {"type": "table", "rows": cells, "column_settings": [{"is_wrapped": True}]}
