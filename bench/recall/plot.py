"""The outcomes as a picture: one bar for each tool on each runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.recall.contestants import CONTESTANTS
from bench.recall.judge import TraceOutcome, count
from bench.recall.measure import Round

PICTURE = "recall.png"
COLORS = {
    TraceOutcome.BYTES: "#1b6ca8",
    TraceOutcome.NAME: "#8fb8d8",
    TraceOutcome.REPORTED: "#d6dbe1",
    TraceOutcome.SILENT: "#c0392b",
}


def draw(rounds: Sequence[Round], path: Path) -> None:
    """Draw how many traces each tool brought home, as a PNG."""
    bars = [
        (f"{each.title.replace('`', '')}\n{found.runtime}", count(found.verdicts[each.name]))
        for found in rounds
        for each in CONTESTANTS
        if each.name in found.verdicts
    ]
    figure = Figure(figsize=(11, 1.2 + 0.5 * len(bars)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    names, left = [name for name, _ in bars], [0] * len(bars)
    for outcome in TraceOutcome:
        widths = [counts[outcome] for _, counts in bars]
        drawn = axes.barh(names, widths, left=left, color=COLORS[outcome], label=str(outcome))
        axes.bar_label(drawn, [str(width or "") for width in widths], label_type="center")
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("traces")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(TraceOutcome), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": ""})
