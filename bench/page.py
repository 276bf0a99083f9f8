"""Results as Markdown, between the markers of `docs/performance.md`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from lab.process import LabError

END = "<!-- /bench -->"
GENTLE = "FORENSICS_GENTLE"
PRIORITY = os.environ.get(GENTLE, "")
"""Whether captures are nicer than others, where that is not left to their default."""


@dataclass(frozen=True, slots=True)
class PartResult:
    """What one part of the benchmark found out."""

    name: str
    """Of the markers that it goes between."""
    text: str
    """Markdown."""
    goals: Mapping[str, float | None] = field(default_factory=dict)
    """What was measured of what was aimed at, by the names in `GOALS`."""
    bounds: Mapping[str, Bound] = field(default_factory=dict)
    """What these cannot be better than, by the same names."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a number could be at best, by what was measured besides."""

    value: float
    what: str
    """What sets it."""


def fill(page: Path, parts: Mapping[str, str]) -> None:
    """Put each part between the markers of its name. Raises `LabError` if one is missing."""
    text = page.read_text()
    for name, part in parts.items():
        start, end = _place(page, text, name)
        text = f"{text[:start]}{part}\n{text[end:]}"
    page.write_text(text)


def block(page: Path, name: str) -> str:
    """Return what lies between the markers of a name. Raises `LabError` if they are missing."""
    text = page.read_text()
    start, end = _place(page, text, name)
    return text[start:end].rstrip("\n")


def _place(page: Path, text: str, name: str) -> tuple[int, int]:
    begin = f"<!-- bench:{name} -->"
    found = re.search(f"{begin}\n(.*?){END}", text, re.DOTALL)
    if not found:
        raise LabError(f"{page} has no markers for '{name}'", hint=f"Add {begin} and {END}")
    return found.span(1)


GOAL_COLUMNS = ("goal", "limit", "measured", "")


def goal(aim: Goal, measured: float | None) -> list[str]:
    """Return a row: what was aimed at, the limit, what was measured, and whether that is good."""
    if measured is None:
        return [aim.what, f"{aim.limit:g}", "not measured", ""]
    verdict = "met" if aim.met(measured) else "**not met**"
    return [aim.what, f"{aim.limit:g}", f"{measured:.4g}", verdict]


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows of cells as a table in Markdown."""
    filled = list(rows)
    if not filled:
        return "Not measured."
    marks = [":--", *["--:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [columns, marks, *filled])


def number(value: float | None) -> str:
    """Return a cell with two decimals, or empty."""
    return "" if value is None else f"{value:.2f}"


def measured(runs: int = 1) -> str:
    """Return the beginning of a sentence that says when, and how busy the machine was by then."""
    times = "once" if runs == 1 else f"in {runs} rounds"
    setting = f"a load of {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
    if PRIORITY:
        setting += f" and `{GENTLE}={PRIORITY}`"
    return f"Measured on {datetime.now(UTC):%Y-%m-%d}, {times}, with {setting}"


@dataclass(frozen=True, slots=True)
class Goal:
    """A number that a measurement is compared with."""

    what: str
    limit: float
    at_least: bool = False
    """Whether more is better."""

    def met(self, measured: float) -> bool:
        """Return whether a measured value is good."""
        return measured >= self.limit if self.at_least else measured <= self.limit
