"""Results as Markdown, put between the markers of `docs/performance.md`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench.goals import GOALS, Goal
from lab.process import LabError

END = "<!-- /bench -->"


@dataclass(frozen=True, slots=True)
class PartResult:
    """What one part of the benchmark found out."""

    name: str
    """Of the markers that it goes between."""
    text: str
    """Markdown."""
    goals: Mapping[str, float | None] = field(default_factory=dict)
    """What was measured of what was aimed at, by the names in `GOALS`."""


def publish(page: Path, *findings: PartResult) -> None:
    """Put findings into their own places, and into the table of goals.

    Everything else stays as it is. Raises `LabError` if a marker is missing.
    """
    fill(page, {finding.name: finding.text for finding in findings})
    known = _rows(block(page, "goals"))
    for finding in findings:
        known |= {name: goal_row(name, value) for name, value in finding.goals.items()}
    fill(page, {"goals": table(GOAL_COLUMNS, (_goal(known, name) for name in GOALS))})


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


def goal_row(name: str, measured: float | None) -> list[str]:
    """Return a row of the table of goals, of one that is in `GOALS`."""
    return goal(GOALS[name], measured)


def goal(aim: Goal, measured: float | None) -> list[str]:
    """Return a row: what was aimed at, the limit, what was measured, and whether that is good."""
    if measured is None:
        return [aim.what, f"{aim.limit:g}", "not measured", ""]
    verdict = "met" if aim.met(measured) else "**not met**"
    return [aim.what, f"{aim.limit:g}", f"{measured:.4g}", verdict]


def _goal(known: Mapping[str, list[str]], name: str) -> list[str]:
    """Return what is known of a goal, if that is about the same goal still."""
    nothing = goal_row(name, None)
    row = known.get(name, nothing)
    return row if row[:2] == nothing[:2] else nothing


def _rows(text: str) -> dict[str, list[str]]:
    """Return the rows of a table of goals by the goals' names."""
    names = {aim.what: name for name, aim in GOALS.items()}
    lines = [line.strip("| ").split(" | ") for line in text.splitlines()]
    cells = [[*(cell.strip() for cell in line), ""][:4] for line in lines]
    return {names[row[0]]: row for row in cells if row[0] in names and len(row) == 4}


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
    """Return the beginning of a sentence that says when."""
    times = "once" if runs == 1 else f"in {runs} rounds"
    return f"Measured on {datetime.now(UTC):%Y-%m-%d}, {times}"
