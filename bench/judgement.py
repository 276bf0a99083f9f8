"""What rounds of a case say about goals, and what the steps by themselves say could be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import TYPE_CHECKING

from bench.page import Bound
from bench.procedures import (
    NOWHERE,
    OURS,
    OURS_FIXED,
    OURS_PLAIN,
    SCRIPT,
    TAR,
    Procedure,
)
from bench.profile import Profile
from bench.runs import ProcedureRun
from bench.summary import ratio

if TYPE_CHECKING:
    from bench.cases import Case

PROFILED = ("mixed", "real")
"""Subjects whose captures are taken apart, step by step."""
Rounds = Sequence[Sequence[ProcedureRun]]
Judged = tuple[str, float | None, Bound | None]
"""The name of a goal, what was measured of it, and what it could be at best."""
_STEPS = "reading, hashing twice, compressing, sending: on all cores"
_PLAIN = "reading, hashing twice, sending: on all cores"
_CPU = "reading, hashing twice, compressing, sending: CPU time"


def judged(
    case: Case, rounds: Rounds, profile: Profile | None
) -> tuple[dict[str, float | None], dict[str, Bound]]:
    """Return what was measured of goals, and their bounds, by the goals' names."""
    found: list[Judged] = []
    if case.link == "http" and case.subject in PROFILED:
        found = [*_of_a_tree(case.subject, rounds, profile)]
    if case.subject == "mixed":
        found += _of_mixed(case, rounds, profile)
    goals = {name: value for name, value, _ in found}
    return goals, {name: bound for name, _, bound in found if bound}


def _of_a_tree(name: str, rounds: Rounds, profile: Profile | None) -> Iterator[Judged]:
    """Judge a capture beside the pipeline, and without compression beside an export."""
    wall, plain, cpu = (
        _least(profile, compressed=True),
        _least(profile, compressed=False),
        profile.least_cpu(compressed=True) if profile else None,
    )
    yield name, ratio(rounds, OURS, TAR), _bound(wall, _walls(rounds, TAR), _STEPS)
    yield f"{name}-cpu", _cpu_ratio(rounds), _bound(cpu, _cpus(rounds, TAR), _CPU)
    exported = _bound(plain, _walls(rounds, NOWHERE), _PLAIN)
    yield f"{name}-plain", ratio(rounds, OURS_PLAIN, NOWHERE), exported


def _of_mixed(case: Case, rounds: Rounds, profile: Profile | None) -> Iterator[Judged]:
    wall = _least(profile, compressed=True)
    if case.link == "http":
        for name, other in (("script", SCRIPT), ("nowhere", NOWHERE)):
            yield name, ratio(rounds, OURS, other), _bound(wall, _walls(rounds, other), _STEPS)
        own = [run for runs in rounds for run in runs if run.procedure in {OURS, OURS_PLAIN}]
        yield "scratch", max((run.cost.written for run in own), default=None), None
    elif case.way.rate:
        yield case.link, _of_fixed(rounds), _of_link(case, rounds)


def _of_fixed(rounds: Rounds) -> float | None:
    """Return the wall time of `auto` in parts of the fastest fixed way's."""
    ratios = [ratio(rounds, OURS, fixed) for fixed in (OURS_FIXED, OURS_PLAIN)]
    return max((each for each in ratios if each is not None), default=None)


def _of_link(case: Case, rounds: Rounds) -> Bound | None:
    """Return how fast a link could take the least that anybody of these stored."""
    stored = [run.stored for runs in rounds for run in runs if run.stored]
    fixed = [*_walls(rounds, OURS_FIXED), *_walls(rounds, OURS_PLAIN)]
    if not (stored and fixed):
        return None
    return Bound(min(stored) / case.way.rate / min(fixed), "the link, for the least that was sent")


def _least(profile: Profile | None, *, compressed: bool) -> float | None:
    return profile.least_wall(compressed=compressed) if profile else None


def _bound(least: float | None, others: Sequence[float], what: str) -> Bound | None:
    return Bound(least / median(others), what) if least is not None and others else None


def _walls(rounds: Rounds, procedure: Procedure) -> list[float]:
    return [run.cost.wall for runs in rounds for run in runs if run.procedure == procedure]


def _cpus(rounds: Rounds, procedure: Procedure) -> list[float]:
    return [run.cost.cpu for runs in rounds for run in runs if run.procedure == procedure]


def _cpu_ratio(rounds: Rounds) -> float | None:
    pairs = [*zip(_cpus(rounds, OURS), _cpus(rounds, TAR), strict=False)]
    return median(ours / theirs for ours, theirs in pairs) if pairs else None
