"""Many runs in few numbers: medians, and ratios of runs that were made in the same round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.procedures import NOWHERE, SCRIPT, TAR, Procedure
from bench.runs import Run


@dataclass(frozen=True, slots=True)
class Row:
    """What is said of a procedure: medians over the rounds, peaks over all runs."""

    procedure: Procedure
    wall: float
    """Seconds, as all times here."""
    fastest: float
    slowest: float
    of_script: float | None
    """Median of its wall time over the usual script's of the same round."""
    of_nowhere: float | None
    """The same, over an export to nowhere."""
    of_tar: float | None
    """The same, over the fastest pipeline by hand."""
    cpu: float
    engine_cpu: float | None
    peak: int
    """Bytes, as all sizes here: the highest of all runs."""
    peak_together: int
    written: int
    stored: int


def summarize(rounds: Sequence[Sequence[Run]]) -> list[Row]:
    """Return a row for each procedure, from rounds that have the same procedures in each place."""
    bases = [_walls(rounds, base) for base in (SCRIPT, NOWHERE, TAR)]
    return [_row(runs, bases) for runs in zip(*rounds, strict=True)]


def _walls(rounds: Sequence[Sequence[Run]], procedure: Procedure) -> list[float] | None:
    """Return the procedure's wall time in each round, None if it was not run."""
    return [run.cost.wall for runs in rounds for run in runs if run.procedure == procedure] or None


def _row(runs: Sequence[Run], bases: Sequence[list[float] | None]) -> Row:
    walls = [run.cost.wall for run in runs]
    of_script, of_nowhere, of_tar = (_ratio(walls, base) for base in bases)
    engine = [run.engine_cpu for run in runs if run.engine_cpu is not None]
    return Row(
        procedure=runs[0].procedure,
        wall=median(walls),
        fastest=min(walls),
        slowest=max(walls),
        of_script=of_script,
        of_nowhere=of_nowhere,
        of_tar=of_tar,
        cpu=median(run.cost.cpu for run in runs),
        engine_cpu=median(engine) if engine else None,
        peak=max(run.cost.peak for run in runs),
        peak_together=max(run.cost.peak_together for run in runs),
        written=max(run.cost.written for run in runs),
        stored=int(median(run.stored for run in runs)),
    )


def _ratio(walls: Sequence[float], base: Sequence[float] | None) -> float | None:
    return median(a / b for a, b in zip(walls, base, strict=True)) if base else None
