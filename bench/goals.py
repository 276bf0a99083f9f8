"""The numbers that are aimed at: what was measured of each, and what it could be at best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.page import Bound, Goal, PartResult, block, fill, table
from bench.plot import GoalBar, draw_goals

PICTURE = "bench-goals.png"
MEMORY_LIMIT = 200
"""MiB that the collector and its `tar` may use together, whatever the size."""
_PIPELINE = "`tar c`, `zstd -1 -T2`, `aws s3 cp -`"

GOALS = {
    "real": Goal(f"real tree: wall time, of {_PIPELINE}", 0.95),
    "real-cpu": Goal("real tree: CPU time, of that pipeline's", 1),
    "real-plain": Goal("real tree, not compressed: wall, of `docker export > /dev/null`", 0.5),
    "mixed": Goal("files and zeros: wall time, of that pipeline's", 1.1),
    "mixed-cpu": Goal("files and zeros: CPU time, of that pipeline's", 1),
    "mixed-plain": Goal("files and zeros, not compressed: wall, of `docker export`", 0.5),
    "gigabit": Goal("at 1 Gbit/s: wall time of `auto`, of the fastest fixed way's", 1),
    "slow": Goal("at 100 Mbit/s: wall time of `auto`, of a fixed level's", 1),
    "script": Goal("files and zeros: wall time, of the usual script's", 0.5),
    "nowhere": Goal("files and zeros: wall time, of `docker export > /dev/null`", 1),
    "cold": Goal("cold cache: wall time, of the pipeline's", 1),
    "containerd": Goal("containerd: wall time, of the pipeline's over the mounts", 1),
    "nothing": Goal("CPU seconds of a capture of almost nothing", 0.35),
    "scratch": Goal("scratch bytes", 0),
    "upload": Goal("CPU seconds a GiB of the upload, over HTTP", 0.7),
    "memory-1": Goal("peak MiB, of a file of 1 GiB", MEMORY_LIMIT),
    "memory-4": Goal("peak MiB, of a file of 4 GiB", MEMORY_LIMIT),
    "memory-16": Goal("peak MiB, of a file of 16 GiB", MEMORY_LIMIT),
    "request": Goal("seconds from the request to `Captured`, loopback", 1.5),
    "request-node": Goal("seconds until 12 small pods of a node are captured, loopback", 8),
    "request-real": Goal("seconds from the request to `Captured`, real cluster", 1.5),
    "request-real-node": Goal("seconds until 12 small pods of a node are captured, real", 8),
    "operator-rate": Goal("checkpoints a second of the operator", 50, at_least=True),
    "operator-rest": Goal("MiB of the operator at rest, 5,000 finished", 100),
    "operator-stall": Goal("longest ms without an answer, 10,000 objects listed", 100),
    "verify": Goal("wall time of `verify`, of `sha256sum` and `zstd -t`", 1.2),
    "fetch": Goal("wall time of `fetch`, of `aws s3 cp --recursive`", 1),
    "ls-requests": Goal("requests of `ls`", 4),
    "ls-wall": Goal("seconds of `ls`, median", 0.3),
    "cat-requests": Goal("requests of `cat`", 4),
    "cat-wall": Goal("seconds of `cat`, median", 0.3),
    "cat-fetched": Goal("MiB fetched for 500 KB out of an archive of 4 GiB", 6),
    "scan-wall": Goal("wall time of a scan, of `yara` on the extracted tree", 2),
    "scan-memory": Goal("peak MiB of a scan, all processes", 300),
}
"""By names for what measures them."""

COLUMNS = ("number", "goal", "measured", "", "at best", "what sets that", "times that")


def publish(page: Path, *results: PartResult) -> None:
    """Put results into their own places, and into the table and the picture of goals.

    Everything else stays as it is. Raises `LabError` if a marker is missing.
    """
    fill(page, {result.name: result.text for result in results})
    known = _known(block(page, "goals"))
    for result in results:
        for name, value in result.goals.items():
            known[name] = GoalRow(GOALS[name], value, result.bounds.get(name))
    rows = [known.get(name) or GoalRow(goal) for name, goal in GOALS.items()]
    fill(page, {"goals": table(COLUMNS, (row.cells for row in rows))})
    if any(result.goals for result in results):
        draw_goals([*_bars(rows)], page.parent / "images" / PICTURE)


@dataclass(frozen=True, slots=True)
class GoalRow:
    """A goal, and what is known of it."""

    goal: Goal
    measured: float | None = None
    bound: Bound | None = None

    @property
    def cells(self) -> list[str]:
        """A row of the table."""
        if self.measured is None:
            return [*self._aim, "not measured", "", "", "", ""]
        verdict = "met" if self.goal.met(self.measured) else "**not met**"
        cells = [*self._aim, f"{self.measured:.3g}", verdict]
        if self.bound is None:
            return [*cells, "", "", ""]
        return [*cells, f"{self.bound.value:.3g}", self.bound.what, self._distance]

    @classmethod
    def of(cls, goal: Goal, cells: Sequence[str]) -> GoalRow | None:
        """Return what a row says, if that is about the same goal still."""
        try:
            found = cls(goal, float(cells[2]), Bound(float(cells[4]), cells[5]))
        except ValueError:
            try:
                found = cls(goal, float(cells[2]))
            except ValueError:
                return None
        return found if found._aim == [*cells[:2]] else None

    @property
    def _aim(self) -> list[str]:
        sign = "≥" if self.goal.at_least else "≤"
        return [self.goal.what, f"{sign} {self.goal.limit:g}"]

    @property
    def _distance(self) -> str:
        if not (self.bound and self.measured and self.bound.value):
            return ""
        times = self.measured / self.bound.value
        return f"{1 / times if self.goal.at_least else times:.2f}"


def _known(text: str) -> dict[str, GoalRow]:
    """Return the rows of the table by the goals' names."""
    names = {goal.what: name for name, goal in GOALS.items()}
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    found = {
        names[cells[0]]: GoalRow.of(GOALS[names[cells[0]]], cells)
        for cells in lines
        if len(cells) == len(COLUMNS) and cells[0] in names
    }
    return {name: row for name, row in found.items() if row}


def _bars(rows: Sequence[GoalRow]) -> Iterator[GoalBar]:
    """Yield the bars of what was measured and has a goal to be measured in."""
    for row in rows:
        goal, measured = row.goal, row.measured
        if measured and goal.limit:
            best = row.bound.value if row.bound else None
            yield GoalBar(
                what=goal.what,
                share=_share(goal, measured),
                best=_share(goal, best) if best else None,
                met=goal.met(measured),
            )


def _share(goal: Goal, value: float) -> float:
    """Return a value in parts of the goal, less being better."""
    return goal.limit / value if goal.at_least else value / goal.limit


def bounds(values: Mapping[str, float], what: str) -> dict[str, Bound]:
    """Return bounds that one thing sets."""
    return {name: Bound(value, what) for name, value in values.items()}
