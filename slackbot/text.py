"""Text on its way in and out: what phones make of quotes, and what attackers make of names.

Names, reasons and messages of errors come from strangers. `clean` makes one harmless line of them;
`escape` is for the few places where Slack reads markup.
"""

from __future__ import annotations

import re

from forensics_core._internal.text import printable

_DOUBLE = "\u201c\u201d\u201e\u00ab\u00bb"
_SINGLE = "\u2018\u2019\u201a"
_HYPHENS = "\u2010\u2011\u2212"
QUOTES = str.maketrans(dict.fromkeys(_DOUBLE, '"') | dict.fromkeys(_SINGLE, "'") | {"\u00a0": " "})
"""What keyboards of phones put in the place of what was typed."""
# Phones make one long dash of two hyphens where a word begins: there it was an option.
_OPTION = re.compile(r"(?<!\S)(?:-*[\u2013\u2014]-*|-{3,})")
_DASH = re.compile(f"[\u2013\u2014{_HYPHENS}]")
_QUOTED = re.compile(r"""("[^"]*"|'[^']*')""")
_MARKUP = re.compile(r"<([@#!]?)([^<>|\s][^<>|]*)(?:\|([^<>]*))?>")
"""Slack's mentions and links: `<@U1|alice>`, `<#C1|general>`, `<!here>`, `<https://x|label>`."""


def as_typed(text: str) -> str:
    """Return a command with plain quotes and dashes: two where a word begins, one within.

    What stands in quotes keeps its dashes.
    """
    parts = _QUOTED.split(unmarked(text).translate(QUOTES))
    return "".join(part if at % 2 else _dashes(part) for at, part in enumerate(parts))


def _dashes(text: str) -> str:
    return _DASH.sub("-", _OPTION.sub("--", text))


def unmarked(text: str) -> str:
    """Return Slack's text as people see it: labels instead of links, no entities."""
    plain = _MARKUP.sub(_seen, text)
    return plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _seen(found: re.Match[str]) -> str:
    kind, target, label = found.groups()
    if kind in {"@", "#"}:
        return f"{kind}{label or target}"
    return label or f"{'@' if kind else ''}{target}"


def clean(text: object, limit: int = 500) -> str:
    """Return one line of visible characters, at most `limit`, without backticks.

    Whitespace of any kind is one space; what is invisible, or steers a terminal, is spelled.
    """
    line = " ".join(str(text).replace("`", "'").split())
    # Cut twice: to spell a character takes up to ten.
    return clip(printable(line, limit), limit)


def clip(text: str, limit: int) -> str:
    """Cut to `limit` characters, the last one an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def escape(text: str) -> str:
    """Return text that Slack shows as it is: no mentions, no links."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
