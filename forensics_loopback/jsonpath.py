"""The JSONPath of printer columns: `.status.phase`, `.spec.list[0]`, `[?(@.type=="Ready")]`."""

from __future__ import annotations

import json
import re
from typing import Any

_STEP = re.compile(
    r"""\.(?P<field>(?:\\.|[^.\[\\])+)"""
    r"""|\[(?P<index>-?\d+)\]"""
    r"""|\[(?P<all>\*)\]"""
    r"""|\[['"](?P<quoted>[^'"]+)['"]\]"""
    r"""|\[\?\(@\.(?P<key>[\w.]+)\s*==\s*(?P<value>'[^']*'|"[^"]*"|[\w.]+)\)\]"""
)


def find(obj: Any, path: str) -> Any:
    """The first value at the path, or None."""
    nodes = [obj]
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            return None
        nodes = [found for node in nodes for found in _step(node, match)]
        position = match.end()
    return nodes[0] if nodes else None


def _step(node: Any, match: re.Match[str]) -> list[Any]:
    name = match["quoted"] or (match["field"] or "").replace("\\", "")
    if name:
        return [node[name]] if isinstance(node, dict) and name in node else []
    if not isinstance(node, list):
        return []
    if match["all"]:
        return node
    if match["index"]:
        index = int(match["index"])
        return [node[index]] if -len(node) <= index < len(node) else []
    return [item for item in node if find(item, "." + match["key"]) == _literal(match["value"])]


def _literal(text: str) -> Any:
    if text[0] in "'\"":
        return text[1:-1]
    try:
        return json.loads(text)
    except ValueError:
        return text
