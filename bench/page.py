"""Results as Markdown, between the markers of `docs/performance.md`, and the goals they meet."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import click

from bench.sink import ROOT
from forensics_core.errors import ForensicsError
from lab.process import LabError, end_politely

END = "<!-- /bench -->"
Decorated = TypeVar("Decorated", bound=Callable[..., Any])


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


MEMORY_LIMIT = 200
"""MiB that the collector and its `tar` may use together, whatever the size."""

GOALS = {
    "script": Goal("wall time, of the usual script's", 0.5),
    "nowhere": Goal("wall time, of `docker export > /dev/null`", 1),
    "tar": Goal("wall time, of `tar c`, `zstd -1 -T2`, `aws s3 cp -`", 1),
    "pipe-zstd": Goal("wall time, of `docker export`, `zstd -1`, `aws s3 cp -`", 0.5),
    "plain-nowhere": Goal("wall time without compression, of `docker export > /dev/null`", 0.5),
    "script-hoped": Goal("wall time, of the usual script's, where that `tar` was at about", 0.25),
    "nowhere-hoped": Goal("wall time, of `docker export > /dev/null`, the same", 0.63),
    "scratch": Goal("scratch bytes", 0),
    "upload": Goal("CPU seconds a GiB of the upload, over HTTP", 0.7),
    "memory-1": Goal("peak MiB, of a file of 1 GiB", MEMORY_LIMIT),
    "memory-4": Goal("peak MiB, of a file of 4 GiB", MEMORY_LIMIT),
    "memory-16": Goal("peak MiB, of a file of 16 GiB", MEMORY_LIMIT),
    "cat-fetched": Goal("MiB fetched for 500 KB out of an archive of 4 GiB", 6),
    "cat-wall": Goal("seconds until these are there", 1),
    "scan-wall": Goal("wall time of a scan, of `yara` on the extracted tree", 2),
    "scan-memory": Goal("peak MiB of a scan, all processes", 300),
}
"""By names for what measures them; the ratios are those of 60,000 files and 1.9 GB over HTTP."""


def part_options(few: str, document: str = "performance.md") -> Callable[[Decorated], Decorated]:
    """Options of a part that `run_part` runs; `few` says what a quick run is made with."""
    docs = click.option(
        "--docs",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help=f"Where {document} is.  [default: docs/ after a whole run, else nowhere]",
    )
    quick = click.option("--quick", is_flag=True, help=f"{few}: to see that it works.")
    return lambda command: quick(docs(command))


def run_part(
    document: str, measure: Callable[[Path], Mapping[str, str]], *, quick: bool, docs: Path | None
) -> None:
    """Measure in a scratch folder, print the tables, and put them between `document`'s markers.

    `measure` returns tables by marker. `docs` is where the document is; None is `docs/`, but for a
    quick run, whose numbers say nothing. Raises `ClickException` where something fails.
    """
    end_politely()
    if not (quick or docs):
        docs = ROOT / "docs"
    try:
        with TemporaryDirectory(prefix="bench-") as folder:
            found = measure(Path(folder))
    except ForensicsError as error:
        raise click.ClickException(str(error)) from error
    print("\n\n".join(found.values()))
    if docs:
        fill(docs / document, found)
