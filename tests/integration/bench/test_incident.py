from __future__ import annotations

from pathlib import Path

import pytest

from bench.incident import IncidentTimes, blocks
from tests.integration.bench.quick import quick_page


@pytest.mark.timeout(240)
def test_the_benchmark_of_an_incident_with_a_few_pods(tmp_path: Path) -> None:
    page = quick_page("incident", tmp_path)
    assert "with 12 pods on 2 nodes" in page
    assert "| captures of a node at once, at most | 3 | 3 | met |" in page
    assert "| API writes a checkpoint | 10 | 10 | met |" in page


def test_goals_are_judged_and_times_told() -> None:
    found = blocks(IncidentTimes(100, 2.0, 16.0, 17.0, 12.5, 10.0, 4, 1.5))
    assert "with 100 pods on 10 nodes. The load was 1.5" in found["incident-setting"]
    assert "| seconds until all pods may be killed | 15 | 16 | **not met** |" in found["incident"]
    assert "| captures of a node at once, at most | 3 | 4 | **not met** |" in found["incident"]
    assert "| CPU seconds of all processes together |  | 12.50 |  |" in found["incident"]
    assert "| seconds until all were asked for |  | 2.00 |  |" in found["incident"]
