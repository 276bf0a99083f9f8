"""Many runs in few numbers: medians, and ratios of runs that were made in the same round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.page import number, table
from bench.procedures import NOWHERE, SCRIPT, TAR, Procedure
from bench.runs import ProcedureRun
from lab.images import MiB


@dataclass(frozen=True, slots=True)
class SummaryRow:
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


def summarize(rounds: Sequence[Sequence[ProcedureRun]]) -> list[SummaryRow]:
    """Return a row for each procedure, from rounds that have the same procedures in each place."""
    return [_row(runs, rounds) for runs in zip(*rounds, strict=True)]


def ratio(
    rounds: Sequence[Sequence[ProcedureRun]], procedure: Procedure, base: Procedure
) -> float | None:
    """Return the median of a procedure's wall time over another's of the same round.

    None if either was not run.
    """
    ours, others = _wall_times(rounds, procedure), _wall_times(rounds, base)
    return median(a / b for a, b in zip(ours, others, strict=True)) if ours and others else None


def _wall_times(rounds: Sequence[Sequence[ProcedureRun]], procedure: Procedure) -> list[float]:
    return [run.cost.wall for runs in rounds for run in runs if run.procedure == procedure]


def _row(runs: Sequence[ProcedureRun], rounds: Sequence[Sequence[ProcedureRun]]) -> SummaryRow:
    procedure, walls = runs[0].procedure, [run.cost.wall for run in runs]
    of_script, of_nowhere, of_tar = (
        ratio(rounds, procedure, base) for base in (SCRIPT, NOWHERE, TAR)
    )
    engine = [run.engine_cpu for run in runs if run.engine_cpu is not None]
    return SummaryRow(
        procedure=procedure,
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


_SHORT = (
    "procedure",
    "wall s (range)",
    "of the last one's",
    "CPU s",
    "engine's CPU s",
    "peak MiB, all processes",
    "MiB from the disk",
    "scratch MiB",
    "stored MiB",
)


def short_table(rounds: Sequence[Sequence[ProcedureRun]], base: Procedure) -> str:
    """Return a table of rounds whose walls are compared with those of `base`, the last one."""
    return table(_SHORT, (_short(runs, rounds, base) for runs in zip(*rounds, strict=True)))


def _short(
    runs: Sequence[ProcedureRun], rounds: Sequence[Sequence[ProcedureRun]], base: Procedure
) -> list[str]:
    row = _row(runs, rounds)
    sizes = (row.peak_together, max(run.cost.read for run in runs), row.written, row.stored)
    return [
        row.procedure.title,
        f"{row.wall:.2f} ({row.fastest:.2f} to {row.slowest:.2f})",
        number(ratio(rounds, row.procedure, base)),
        number(row.cpu),
        number(row.engine_cpu),
        *(f"{size / MiB:.0f}" for size in sizes),
    ]
