"""The timeline's benchmark: that it runs, and what it makes of its numbers."""

from __future__ import annotations

from pathlib import Path

from bench.measure import ScriptCost
from bench.timeline import MiB, TimelineCosts, block
from tests.integration.bench.quick import quick_page


def test_the_timelines_benchmark_with_few_entries(tmp_path: Path) -> None:
    page = quick_page("timeline", tmp_path)
    assert "of a bundle with 5,000 entries" in page
    assert "| peak MiB, `--format timesketch` | 200 | " in page


def test_goals_of_each_format_are_judged() -> None:
    cost = ScriptCost(wall=31, cpu=12, peak=0, peak_together=150 * MiB, written=0)
    found = block(TimelineCosts(1_000_000, {"table": cost}))
    assert "| seconds, `--format table` | 20 | 31 | **not met** |" in found
    assert "| CPU seconds, `--format table` | 20 | 12 | met |" in found
    assert "| peak MiB, `--format table` | 200 | 150 | met |" in found
