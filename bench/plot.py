"""Results as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.summary import SummaryRow
from lab.images import MiB

OURS, OTHERS, ENGINE, MISSED = "#1b6ca8", "#9aa5b1", "#d6dbe1", "#c8553d"


@dataclass(frozen=True, slots=True)
class GoalBar:
    """A number in parts of its goal; less is better."""

    what: str
    share: float
    best: float | None
    """What it cannot be better than."""
    met: bool


def picture(case: str) -> str:
    """Return the name of the picture of a case."""
    return f"bench-{case}.png"


def draw(rows: Sequence[SummaryRow], path: Path) -> None:
    """Draw wall time, CPU time, peak memory and scratch space of each procedure as a PNG."""
    figure = Figure(figsize=(11, 1.1 + 0.85 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2, sharey=True)
    ours = [row.procedure.name.startswith("forensics") for row in rows]
    colors = [OURS if own else OTHERS for own in ours]
    names = [_plain(row.procedure.title) for row in rows]
    wall, cpu, peak, scratch = axes.flat
    _bars(wall, "Wall time, s", names, [row.wall for row in rows], colors)
    _bars(peak, "Peak memory, MiB", names, [row.peak_together / MiB for row in rows], colors)
    _bars(scratch, "Scratch space, MiB", names, [row.written / MiB for row in rows], colors)
    client = [row.cpu for row in rows]
    engine = [row.engine_cpu or 0 for row in rows]
    cpu.barh(names, engine, left=client, color=ENGINE, label="in the engine")
    _bars(cpu, "CPU time, s", names, client, colors, beyond=engine)
    cpu.legend(frameon=False, loc="best", fontsize="small")
    wall.invert_yaxis()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": ""})


def draw_goals(bars: Sequence[GoalBar], path: Path) -> None:
    """Draw how far each number is from its goal, and how far it could be, as a PNG."""
    figure = Figure(figsize=(11, 1.5 + 0.28 * len(bars)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    names = [_plain(bar.what) for bar in bars]
    colors = [OURS if bar.met else MISSED for bar in bars]
    axes.barh(names, [bar.share for bar in bars], color=colors)
    best = [(bar.best, place) for place, bar in enumerate(bars) if bar.best is not None]
    axes.plot([share for share, _ in best], [place for _, place in best], "k|", markersize=12)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_title(
        "In parts of the goal, which is the line; | is the best there could be", loc="left"
    )
    axes.set_xticks([0.1, 0.25, 0.5, 1, 2, 4], ["0.1", "¼", "½", "goal", "2", "4"])
    axes.minorticks_off()
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": ""})


def _bars(
    axes: Axes,
    title: str,
    names: Sequence[str],
    values: Sequence[float],
    colors: Sequence[str],
    beyond: Sequence[float] = (),
) -> None:
    """Draw one bar a procedure, and its number behind it and what `beyond` adds to it."""
    axes.barh(names, values, color=colors)
    ends = [sum(pair) for pair in zip(values, beyond, strict=True)] if beyond else list(values)
    for place, end in enumerate(ends):
        text = f"{end:.3g}" if end < 100 else f"{end:.0f}"
        axes.annotate(text, (end, place), (3, 0), textcoords="offset points", va="center")
    axes.set_title(title, loc="left", fontsize="medium")
    axes.set_xlim(0, max(ends) * 1.15 or 1)
    axes.spines[["top", "right"]].set_visible(False)


def _plain(title: str) -> str:
    """Return a title without Markdown, broken where it is long."""
    text = title.replace("`", "").replace("\\|", "|")
    return text.replace(" --compression", "\n--compression").replace(", aws", ",\naws")
