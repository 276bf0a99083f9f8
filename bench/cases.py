"""The procedures side by side: on one container, over one way to S3."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bench.judgement import judged
from bench.links import LINKS, EndpointLink
from bench.page import PartResult, measured, number, table
from bench.plot import picture
from bench.procedures import (
    COMPARED,
    COMPRESSING,
    NOWHERE,
    PROCEDURES,
    Procedure,
)
from bench.profile import Profile
from bench.runs import Bench, ProcedureRun, RunListener
from bench.subjects import SUBJECTS, Contents
from bench.summary import SummaryRow, summarize
from lab.images import MiB


@dataclass(frozen=True, slots=True)
class Case:
    """A container and a way, by their names."""

    subject: str
    link: str
    procedures: Sequence[Procedure] = COMPARED

    @property
    def name(self) -> str:
        """For markers and pictures."""
        return f"{self.subject}-{self.link}"

    @property
    def contents(self) -> Contents:
        return SUBJECTS[self.subject]

    @property
    def way(self) -> EndpointLink:
        return LINKS[self.link]


MAIN = Case("mixed", "http", PROCEDURES)
"""The one that most goals are about."""
CASES = (
    MAIN,
    Case("mixed", "https"),
    Case("mixed", "gigabit"),
    Case("mixed", "slow", COMPRESSING),
    *(Case(subject, "http") for subject in SUBJECTS if subject != MAIN.subject),
)


def select(subjects: Collection[str], links: Collection[str]) -> list[Case]:
    """Return the cases with one of these subjects and links; all of them where none is named."""
    return [
        case
        for case in CASES
        if (not subjects or case.subject in subjects) and (not links or case.link in links)
    ]


@dataclass(frozen=True, slots=True)
class CaseResult:
    """Everything that was found out about a case."""

    case: Case
    words: str
    """What the container held."""
    rounds: Sequence[Sequence[ProcedureRun]]

    @property
    def rows(self) -> list[SummaryRow]:
        return summarize(self.rounds)


def compare(
    case: Case, bench: Bench, container: str, only: Collection[str], runs: int, report: RunListener
) -> list[list[ProcedureRun]]:
    """Run the case's procedures, or those named in `only`, for `runs` rounds."""
    chosen = [each for each in case.procedures if not only or each.name in only]
    bench.run(NOWHERE, container)  # Everything is read once before anybody is measured.
    return bench.rounds(chosen, container, runs, report)


def finding(comparison: CaseResult, profile: Profile | None = None) -> PartResult:
    """Return a case's table, with its picture; the subject's profile says what could be at best."""
    case = comparison.case
    when = measured(len(comparison.rounds))
    about = f"{when}, over {case.way.words}: a container with {comparison.words}."
    shown = f"![Wall time, CPU time, memory and scratch space](images/{picture(case.name)})"
    text = f"{about}\n\n{table(_COLUMNS, map(_cells, comparison.rows))}\n\n{shown}"
    goals, limits = judged(case, comparison.rounds, profile)
    return PartResult(case.name, text, goals, limits)


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


def _cells(row: SummaryRow) -> list[str]:
    return [
        row.procedure.title,
        f"{row.wall:.2f} ({row.fastest:.2f} to {row.slowest:.2f})",
        number(row.of_script),
        number(row.of_nowhere),
        number(row.of_tar),
        number(row.cpu),
        number(row.engine_cpu),
        *(f"{size / MiB:.0f}" for size in (row.peak, row.peak_together, row.written, row.stored)),
    ]
