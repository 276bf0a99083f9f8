"""Slack's limits, and the one index that checks them.

Source: https://docs.slack.dev/reference/block-kit
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Block = dict[str, Any]
Blocks = list[Block]

MESSAGE_BLOCKS = 50
VIEW_BLOCKS = 100
SECTION = 3000
HEADER = 150
BUTTON = 75
VALUE = 2000
CONTEXT = 10
ACTIONS = 25
OPTIONS = 100
OPTION = 75
TABLE_ROWS = 100
TABLE_COLUMNS = 20
TABLE_CHARACTERS = 10_000
"""Of all cells of a message's tables together."""
MESSAGE_CHARACTERS = 13_000
"""Of a message's other blocks as JSON. Not documented: more is answered `msg_blocks_too_long`."""
TITLE = 24
"""Characters of a form's title and of its buttons."""
PLACEHOLDER = 150
FALLBACK = 4000
"""Characters of a message's text; Slack cuts what is longer."""
PRIVATE_METADATA = 3000


def problems(blocks: Sequence[Block], most: int = MESSAGE_BLOCKS) -> list[str]:
    """Return everything that Slack would refuse, by block; nothing if all is well."""
    found = [] if len(blocks) <= most else [f"{len(blocks)} blocks, {most} are the most"]
    ids = [block["block_id"] for block in blocks if "block_id" in block]
    if len(set(ids)) < len(ids):
        found.append("a block_id twice")
    for index, block in enumerate(blocks):
        kind = block.get("type", "")
        check = _CHECKS.get(kind)
        said = check(block) if check else [f"an unknown type {kind!r}"]
        found += [f"block {index} ({kind}): {problem}" for problem in said]
    return found


def message_problems(blocks: Sequence[Block]) -> list[str]:
    """Return the same for a message, whose whole length is limited too."""
    found = problems(blocks)
    # Tables have a limit of their own, and do not count towards the other one.
    plain = [block for block in blocks if block.get("type") != "table"]
    cells = sum(table_length(block["rows"]) for block in blocks if block.get("type") == "table")
    for what, count, most in (
        ("The blocks have", message_length(plain), MESSAGE_CHARACTERS),
        ("The tables have", cells, TABLE_CHARACTERS),
    ):
        if count > most:
            found.append(f"{what} {count} characters, {most} are the most")
    return found


def message_length(blocks: Sequence[Block]) -> int:
    """Return what counts towards `MESSAGE_CHARACTERS`."""
    return len(json.dumps(list(blocks), ensure_ascii=False, separators=(",", ":")))


def table_length(rows: Sequence[Sequence[Block]]) -> int:
    """Return what counts towards `TABLE_CHARACTERS`."""
    return sum(len(cell.get("text", "")) for row in rows for cell in row)


def view_problems(view: Block) -> list[str]:
    """Return everything that Slack would refuse in a form or home."""
    found = problems(view.get("blocks", []), VIEW_BLOCKS)
    for part in ("title", "submit", "close"):
        if part in view:
            found += [f"{part}: {one}" for one in _text(view[part], TITLE)]
    if len(view.get("private_metadata", "")) > PRIVATE_METADATA:
        found.append("private_metadata is too long")
    return found


def option_problems(options: Sequence[Block]) -> list[str]:
    """Return everything that Slack would refuse in the options of a select."""
    found = [] if len(options) <= OPTIONS else [f"{len(options)} options"]
    for option in options:
        found += _text(option["text"], OPTION)
        found += _length("value", option["value"], 150)
    return found


def _length(what: str, text: str, most: int) -> list[str]:
    if not text:
        return [f"{what} is empty"]
    return [f"{what} has {len(text)} characters, {most} are the most"] if len(text) > most else []


def _text(text: Block, most: int) -> list[str]:
    if text.get("type") not in {"plain_text", "mrkdwn"}:
        return [f"a text of type {text.get('type')!r}"]
    return _length("text", text.get("text", ""), most)


def _header(block: Block) -> Iterator[str]:
    yield from _text(block["text"], HEADER)


def _section(block: Block) -> Iterator[str]:
    yield from _text(block["text"], SECTION)
    if "accessory" in block:
        yield from _element(block["accessory"])


def _context(block: Block) -> Iterator[str]:
    elements = block["elements"]
    if not 1 <= len(elements) <= CONTEXT:
        yield f"{len(elements)} elements"
    for element in elements:
        yield from _text(element, SECTION)


def _actions(block: Block) -> Iterator[str]:
    elements = block["elements"]
    if not 1 <= len(elements) <= ACTIONS:
        yield f"{len(elements)} elements"
    for element in elements:
        yield from _element(element)
    names = [element["action_id"] for element in elements]
    if len(set(names)) < len(names):
        yield "an action_id twice"


def _element(element: Block) -> Iterator[str]:
    yield from _length("action_id", element.get("action_id", ""), 255)
    if element["type"] == "button":
        yield from _text(element["text"], BUTTON)
        yield from _length("value", element.get("value", "-"), VALUE)
        yield from _length("url", element.get("url", "-"), 3000)
        if "confirm" in element:
            yield from _confirm(element["confirm"])
    elif "placeholder" in element:
        yield from _text(element["placeholder"], PLACEHOLDER)


def _confirm(confirm: Block) -> Iterator[str]:
    for part, most in (("title", 100), ("text", 300), ("confirm", 30), ("deny", 30)):
        yield from _text(confirm[part], most)


def _input(block: Block) -> Iterator[str]:
    yield from _text(block["label"], 2000)
    yield from _element(block["element"])


def _table(block: Block) -> Iterator[str]:
    rows = block["rows"]
    if not 1 <= len(rows) <= TABLE_ROWS:
        yield f"{len(rows)} rows"
    for row in rows:
        if not 1 <= len(row) <= TABLE_COLUMNS:
            yield f"{len(row)} columns"
        for cell in row:
            if cell["type"] == "raw_text":
                yield from _length("a cell", cell["text"], SECTION)


def _rich_text(block: Block) -> Iterator[str]:
    for part in block["elements"]:
        if not part["elements"]:
            yield "an empty section"
        for element in part["elements"]:
            if element["type"] == "text":
                yield from _length("text", element["text"], SECTION)


def _plan(block: Block) -> Iterator[str]:
    yield from _length("title", block["title"], HEADER)
    for task in block["tasks"]:
        yield from _task(task)


def _task(task: Block) -> Iterator[str]:
    yield from _length("task_id", task["task_id"], 255)
    yield from _length("title", task["title"], HEADER)
    if task["status"] not in {"pending", "in_progress", "complete", "error"}:
        yield f"status {task['status']!r}"
    for part in ("details", "output"):
        if part in task:
            yield from _rich_text(task[part])


def _nothing(block: Block) -> Iterator[str]:
    yield from ()


_CHECKS: dict[str, Callable[[Block], Iterator[str]]] = {
    "header": _header,
    "section": _section,
    "context": _context,
    "actions": _actions,
    "input": _input,
    "table": _table,
    "rich_text": _rich_text,
    "plan": _plan,
    "divider": _nothing,
}
