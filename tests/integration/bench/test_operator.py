from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.operator import Busy, IdleMeasurement
from bench.operator_page import blocks, results
from lab.images import MiB
from tests.integration.bench.quick import quick_page


@pytest.mark.timeout(240)
def test_the_operators_benchmark_with_a_few_checkpoints(tmp_path: Path) -> None:
    page = quick_page("operator", tmp_path)
    assert "with 20 PodCheckpoints that were made at once, then 100 finished ones" in page
    assert "| API writes a checkpoint | 10 | 10 | met |" in page
    assert "| requests at rest but watches | 0 | 0 | met |" in page
    assert "| ms of 99 % of answers, 150 listed |" in page


def test_reads_and_writes_are_counted_apart_and_goals_judged() -> None:
    requests = {"create jobs": 30, "get pods": 20, "list events": 10, "watch pods": 3}
    busy = Busy(10, 1.0, 0.5, requests, 151 * MiB, 110)
    found = blocks(busy, IdleMeasurement(50, 5.0, 1, 10 * MiB, 20 * MiB))
    assert "| API writes a checkpoint | 10 | 3 | met |" in found["operator"]
    assert "| checkpoints a second | 50 | 10 | **not met** |" in found["operator"]
    assert "| peak MiB of the operator, busy | 150 | 151 | **not met** |" in found["operator"]
    assert "| requests at rest but watches | 0 | 1 | **not met** |" in found["operator"]
    assert "listed |" not in found["operator"]
    assert "| API reads | 3.00 |" in found["operator-costs"]
    assert "| CPU of the operator, ms | 50.0 |" in found["operator-costs"]


def test_the_operators_numbers_are_goals_with_what_they_could_be() -> None:
    busy = Busy(10, 1.0, 0.5, {}, 0, 0, before=80 * MiB)
    rest = IdleMeasurement(50, 5.0, 0, 90 * MiB, 0, answers=[1, 2, 30], listed=60)
    first, *others = results(busy, rest)
    assert first.goals == {"operator-rate": 10, "operator-rest": 90, "operator-stall": 30}
    assert {name: bound.value for name, bound in first.bounds.items()} == {
        "operator-rate": 20,
        "operator-rest": 80,
        "operator-stall": 2,
    }
    unasked = results(busy, replace(rest, answers=()))[0]
    assert unasked.goals["operator-stall"] is None
    assert "operator-stall" not in unasked.bounds
    assert [other.goals for other in others] == [{}, {}]
