"""Rules over what the node says of itself: `node/kernel.json`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forensics_core._internal.text import printable
from forensics_core.readers.findings.documents import text, words
from forensics_core.readers.findings.finding import Finding, Rule

KERNEL = "node/kernel.json"
_MAX_MODULES = 200
"""Modules that are looked at: a node that says there are more is no better known by them."""


def look_at_kernel(document: Any) -> Iterator[Finding]:
    """Yield the modules that one way of listing them shows and another does not."""
    modules = document.get("modules") if isinstance(document, dict) else None
    rows = modules.get("disagreements") if isinstance(modules, dict) else None
    for row in rows[:_MAX_MODULES] if isinstance(rows, list) else []:
        if not isinstance(row, dict):
            continue
        name = printable(text(row.get("module")), 100) or "without a name"
        shown, missing = words(row.get("shownBy")), words(row.get("missingIn"))
        detail = f"shown by {', '.join(shown) or 'nobody'}, not by {', '.join(missing)}"
        yield Finding(Rule.HIDDEN_MODULE, "", f"module {name}", detail, KERNEL)
