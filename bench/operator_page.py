"""What the operator costs, as tables, and as numbers beside their goals."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING

from bench.page import GOAL_COLUMNS, Bound, Goal, PartResult, goal, table
from lab.images import MiB

if TYPE_CHECKING:
    from bench.operator import Busy, IdleMeasurement


def results(busy: Busy, rest: IdleMeasurement) -> list[PartResult]:
    """Return the parts of the page, with what they say about goals."""
    goals, best = _judged(busy, rest)
    found = [PartResult(name, text) for name, text in blocks(busy, rest).items()]
    return [replace(found[0], goals=goals, bounds=best), *found[1:]]


def _judged(busy: Busy, rest: IdleMeasurement) -> tuple[dict[str, float | None], dict[str, Bound]]:
    alone = f"its {1000 * busy.cpu / busy.count:.0f} ms of CPU time each, on one core"
    goals = {
        "operator-rate": busy.count / busy.seconds,
        "operator-rest": rest.resident / MiB,
        "operator-stall": max(rest.answers, default=None),
    }
    best = {
        "operator-rate": Bound(busy.count / busy.cpu, alone),
        "operator-rest": Bound(busy.before / MiB, "that of one that has seen no PodCheckpoint"),
    }
    if rest.answers:
        best["operator-stall"] = Bound(median(rest.answers), "half of the answers")
    return goals, best


def blocks(busy: Busy, rest: IdleMeasurement) -> dict[str, str]:
    """Return the generated parts of the page by the names of their markers."""
    cpus = len(os.sched_getaffinity(0))
    return {
        "operator-setting": (
            f"Measured on {datetime.now(UTC):%Y-%m-%d} on {cpus} CPUs, with {busy.count:,} "
            f"PodCheckpoints that were made at once, then {rest.count:,} finished ones for "
            f"{rest.seconds:.0f} s. The load at the end was {os.getloadavg()[0]:.1f}."
        ),
        "operator": table(GOAL_COLUMNS, _goals(busy, rest)),
        "operator-costs": table(["", "a checkpoint"], _costs(busy)),
    }


def _goals(busy: Busy, rest: IdleMeasurement) -> Iterator[list[str]]:
    yield goal(Goal("API writes a checkpoint", 10), busy.count_of(reads=False) / busy.count)
    rate = Goal("checkpoints a second", 50, at_least=True)
    yield goal(rate, busy.count / busy.seconds)
    yield goal(Goal("peak MiB of the operator, busy", 150), busy.peak / MiB)
    finished = f"MiB of the operator at rest, {rest.count:,} finished"
    yield goal(Goal(finished, 100), rest.resident / MiB)
    yield goal(Goal("requests at rest but watches", 0), rest.requests)
    if rest.answers:
        slowest = sorted(rest.answers)[-1 - len(rest.answers) // 100]
        yield [f"ms of 99 % of answers, {rest.listed:,} listed", "", f"{slowest:.1f}", ""]


def _costs(busy: Busy) -> Iterator[list[str]]:
    yield ["CPU of the operator, ms", f"{1000 * busy.cpu / busy.count:.1f}"]
    yield ["API reads", f"{busy.count_of(reads=True) / busy.count:.2f}"]
    yield ["objects in S3", f"{busy.objects / busy.count:.1f}"]
    for what, count in sorted(busy.requests.items(), key=lambda item: -item[1]):
        if count >= busy.count / 20:
            yield [f"`{what}`", f"{count / busy.count:.2f}"]
