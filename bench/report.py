"""Results as Markdown, put between the markers of `docs/performance.md`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.memory import Large
from bench.procedures import OURS, OURS_PLAIN
from bench.summary import Row
from lab.images import GiB, MiB
from lab.process import LabError

MEMORY_LIMIT = 200 * MiB
"""Bytes that the collector may use, whatever the size."""


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that one benchmark found out."""

    setting: str
    """Where and when, and on what."""
    rows: Sequence[Row]
    large: Sequence[Large]


def blocks(results: Results) -> dict[str, str]:
    """Return the generated parts of the page by the names of their markers."""
    return {
        "setting": results.setting,
        "goals": table(["goal", "limit", "measured", ""], goals(results)),
        "procedures": table(_COLUMNS, map(_cells, results.rows)),
        "memory": table(_LARGE_COLUMNS, map(_large_cells, results.large)),
    }


def update(page: Path, results: Results) -> None:
    """Replace what lies between the page's markers. Raises `LabError` if one is missing."""
    fill(page, blocks(results))


def fill(page: Path, parts: Mapping[str, str]) -> None:
    """Put each part between the markers of its name. Raises `LabError` if one is missing."""
    text = page.read_text()
    for name, block in parts.items():
        begin, end = f"<!-- bench:{name} -->", "<!-- /bench -->"
        found = re.search(f"{begin}\n.*?{end}", text, re.DOTALL)
        if not found:
            raise LabError(f"{page} has no markers for '{name}'", hint=f"Add {begin} and {end}")
        text = f"{text[: found.start()]}{begin}\n{block}\n{end}{text[found.end() :]}"
    page.write_text(text)


def goals(results: Results) -> Iterator[list[str]]:
    """Yield what was aimed at, its limit, what was measured, and whether that is within it."""
    ours = next((row for row in results.rows if row.procedure == OURS), None)
    if ours:
        yield goal("wall time, of the usual script's", 0.5, ours.of_script)
        yield goal("wall time, of an export's to nowhere", 1.0, ours.of_nowhere)
        yield goal("wall time, of the fastest pipeline's by hand", 1.0, ours.of_tar)
        yield goal("scratch bytes", 0, ours.written)
    for large in results.large:
        what = f"peak MiB at {_size(large.size)}"
        if large.run:
            peak = large.run.cost.peak_together / MiB
            yield goal(f"{what}, {_how(large)}", MEMORY_LIMIT / MiB, peak)
        else:
            yield goal(what, MEMORY_LIMIT / MiB, None)


def goal(what: str, limit: float, measured: float | None, *, at_least: bool = False) -> list[str]:
    """Return a row: what was aimed at, the limit, what was measured, and whether that is good."""
    if measured is None:
        return [what, f"{limit:g}", "not measured", ""]
    met = measured >= limit if at_least else measured <= limit
    return [what, f"{limit:g}", f"{measured:.4g}", "met" if met else "**not met**"]


_COLUMNS = (
    "procedure",
    "wall s (range)",
    "of the script's",
    "of nowhere's",
    "of `tar`'s",
    "CPU s",
    "engine's CPU s",
    "peak MiB, largest process",
    "peak MiB, all processes",
    "scratch MiB",
    "stored MiB",
)


def _cells(row: Row) -> list[str]:
    return [
        row.procedure.title,
        f"{row.wall:.2f} ({row.fastest:.2f} to {row.slowest:.2f})",
        _number(row.of_script),
        _number(row.of_nowhere),
        _number(row.of_tar),
        f"{row.cpu:.2f}",
        _number(row.engine_cpu),
        *(f"{size / MiB:.0f}" for size in (row.peak, row.peak_together, row.written, row.stored)),
    ]


_LARGE_COLUMNS = (
    "file",
    "compression",
    "wall s",
    "MiB/s",
    "CPU s per GiB",
    "peak MiB, collector",
    "peak MiB, with its `tar`",
    "scratch MiB",
    "stored MiB",
)


def _large_cells(large: Large) -> list[str]:
    if large.run is None:
        return [_size(large.size), "not measured: no room on the disk", *[""] * 7]
    cost = large.run.cost
    return [
        _size(large.size),
        _how(large),
        f"{cost.wall:.2f}",
        f"{large.size / MiB / cost.wall:.0f}",
        f"{cost.cpu / (large.size / GiB):.2f}",
        *(
            f"{size / MiB:.0f}"
            for size in (cost.peak, cost.peak_together, cost.written, large.run.stored)
        ),
    ]


def _how(large: Large) -> str:
    return "none" if large.run and large.run.procedure == OURS_PLAIN else "zstd"


def _size(size: int) -> str:
    return f"{size // GiB} GiB" if size % GiB == 0 else f"{size // MiB} MiB"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows of cells as a table in Markdown."""
    filled = list(rows)
    if not filled:
        return "Not measured."
    marks = [":--", *["--:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [columns, marks, *filled])
