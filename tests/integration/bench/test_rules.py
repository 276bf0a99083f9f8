from __future__ import annotations

from pathlib import Path

import pytest

from bench.rules import QUICK, RuleMeasurement, blocks
from lab.images import MiB
from tests.integration.bench.quick import quick_page


@pytest.mark.timeout(240)
def test_the_benchmark_of_rules_with_a_few_pods(tmp_path: Path) -> None:
    page = quick_page("rules", tmp_path)
    assert "with 10 rules and 40 pods: 3 alerts of different pods" in page
    assert "| captures of the burst | 1 | 1 | met |" in page


def test_latencies_and_the_burst_are_judged() -> None:
    found = blocks(RuleMeasurement(QUICK, [0.1, 0.2, 0.6], 0.1, 2, 0, 0.5, 151 * MiB))["rules"]
    assert "| ms from an alert to its Job, median | 500 | 200 | met |" in found
    assert "| the same, the longest | 500 | 600 | **not met** |" in found
    assert "| captures of the burst | 1 | 2 | **not met** |" in found
    assert "| alerts a second of the burst | 200 | 500 | met |" in found
    assert "| peak MiB of the operator, rules | 150 | 151 | **not met** |" in found
