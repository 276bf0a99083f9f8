"""Slack's limits, as its reference has them: what the app believes them to be is not asked.

Source: https://docs.slack.dev/reference/block-kit
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

Data = dict[str, Any]

TEXTS: dict[str, dict[str, int]] = {
    "header": {"text": 150},
    "section": {"text": 3000},
    "input": {"label": 2000, "hint": 2000},
    "button": {"text": 75, "value": 2000, "url": 3000, "action_id": 255},
    "external_select": {"placeholder": 150, "action_id": 255},
    "multi_external_select": {"placeholder": 150, "action_id": 255},
    "plain_text_input": {"placeholder": 150, "action_id": 255},
    "plan": {"title": 150},
    "task_card": {"title": 150, "task_id": 255},
    "modal": {"title": 24, "submit": 24, "close": 24, "callback_id": 255},
    "plain_text": {"text": 3000},
    "mrkdwn": {"text": 3000},
    "raw_text": {"text": 3000},
    "text": {"text": 3000},
}
"""Characters of a part, by the type of what it is in; there has to be at least one."""
CONFIRM = {"title": 100, "text": 300, "confirm": 30, "deny": 30}
LISTS: dict[str, tuple[str, int]] = {
    "context": ("elements", 10),
    "actions": ("elements", 25),
    "table": ("rows", 100),
    "rich_text_section": ("elements", 3000),
}
"""Things in a list, likewise."""
COLUMNS, TABLE_CHARACTERS = 20, 10_000
MESSAGE_BLOCKS, VIEW_BLOCKS, BLOCK_ID = 50, 100, 255
MESSAGE_CHARACTERS = 13_000
"""Of a message's blocks but its tables, as JSON. Not documented."""
METADATA = 3000
OPTIONS, OPTION, OPTION_VALUE = 100, 75, 150
IN_MESSAGES = {"header", "section", "context", "actions", "divider", "rich_text", "table", "plan"}
IN_VIEWS = {"header", "section", "context", "actions", "divider", "rich_text", "input"}
STATES = {"pending", "in_progress", "complete", "error"}


def message_refusal(text: str, blocks: Sequence[Data]) -> str:
    """Return Slack's word for what is wrong with a message, or nothing."""
    if not text:
        return "no_text"
    plain = [block for block in blocks if block.get("type") != "table"]
    if len(json.dumps(plain, ensure_ascii=False, separators=(",", ":"))) > MESSAGE_CHARACTERS:
        return "msg_blocks_too_long"
    found = [*_blocks(blocks, MESSAGE_BLOCKS, IN_MESSAGES), *_tables(blocks)]
    return "invalid_blocks" if found else ""


def view_refusal(view: Data) -> str:
    """Return the same for a form or a home."""
    blocks = view.get("blocks", [])
    found = [*_within(view), *_blocks(blocks, VIEW_BLOCKS, IN_VIEWS)]
    if len(view.get("private_metadata", "")) > METADATA:
        found.append("private_metadata")
    if view.get("type") == "modal" and "submit" not in view:
        found += [block["type"] for block in blocks if block["type"] == "input"]
    return "invalid_arguments" if found else ""


def options_refused(options: Sequence[Data]) -> bool:
    """Return whether Slack would show none of the suggestions."""
    return len(options) > OPTIONS or any(
        not 1 <= len(one["text"]["text"]) <= OPTION or not 1 <= len(one["value"]) <= OPTION_VALUE
        for one in options
    )


def _blocks(blocks: Sequence[Data], most: int, known: set[str]) -> Iterator[str]:
    ids = [block["block_id"] for block in blocks if "block_id" in block]
    if len(blocks) > most or len(set(ids)) < len(ids) or any(len(one) > BLOCK_ID for one in ids):
        yield "blocks"
    for block in blocks:
        if block.get("type") not in known:
            yield f"type {block.get('type')}"
        yield from _within(block)


def _within(data: Any) -> Iterator[str]:
    """Yield what is wrong anywhere in a tree."""
    if isinstance(data, list):
        for one in data:
            yield from _within(one)
    if not isinstance(data, dict):
        return
    kind = data.get("type", "")
    yield from _texts(data, TEXTS.get(kind, {}))
    yield from _texts(data.get("confirm") or {}, CONFIRM)
    yield from _list(data, kind)
    if kind == "task_card" and data.get("status") not in STATES:
        yield "status"
    for one in data.values():
        yield from _within(one)


def _texts(data: Data, limits: dict[str, int]) -> Iterator[str]:
    for part, most in limits.items():
        text = data.get(part)
        if isinstance(text, dict):
            if text.get("type") not in {"plain_text", "mrkdwn"}:
                yield f"{part} is not text"
            text = text.get("text")
        if text is not None and not 1 <= len(text) <= most:
            yield f"{part} of {len(text)} characters"


def _list(data: Data, kind: str) -> Iterator[str]:
    if kind not in LISTS:
        return
    part, most = LISTS[kind]
    if not 1 <= len(data[part]) <= most:
        yield f"{len(data[part])} {part}"
    if kind == "actions":
        names = [one["action_id"] for one in data[part]]
        if len(set(names)) < len(names):
            yield "an action_id twice"


def _tables(blocks: Sequence[Data]) -> Iterator[str]:
    rows = [row for block in blocks if block.get("type") == "table" for row in block["rows"]]
    if any(not 1 <= len(row) <= COLUMNS for row in rows):
        yield "columns"
    if sum(len(cell.get("text", "")) for row in rows for cell in row) > TABLE_CHARACTERS:
        yield "characters"
