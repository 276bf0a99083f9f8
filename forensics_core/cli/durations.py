"""Time spans as people type them: `90`, `90s`, `15m`, `2h`, `30d`."""

from __future__ import annotations

import re

import click

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SPAN = re.compile(r"([0-9]+)([smhd]?)")


def duration(text: str) -> int:
    """Return the seconds of a time span; the type of options. Raises `click.BadParameter`."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no time span: say 90s, 15m, 2h or 30d")
    return int(found[1]) * _SECONDS[found[2]]
