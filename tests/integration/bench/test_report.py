"""The report's benchmark: that it runs, and what it makes of its numbers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.report import MiB, ReportCost, ReportMeasurement, block
from tests.integration.bench.quick import quick_page


@pytest.mark.timeout(400)  # the first may have to install Chromium
@pytest.mark.skipif(os.geteuid() != 0, reason="processes are read by root only")
@pytest.mark.docker
def test_the_reports_benchmark_with_a_little_of_all(tmp_path: Path) -> None:
    page = quick_page("report", tmp_path)
    assert "with 1,000 changes" in page and "Clean containers: busybox." in page
    assert "| findings in clean containers | 0 | 0 | met |" in page


def test_goals_are_judged() -> None:
    found = block(
        ReportMeasurement(
            100_000,
            ReportCost(31, 20 * MiB, 1.5, 300 * MiB),
            ReportCost(1, MiB, 0.2, 100 * MiB),
            {"busybox": 0, "nginx": 2},
        )
    )
    assert "| seconds to make it, of many changes | 30 | 31 | **not met** |" in found
    assert "| its size in MiB | 25 | 20 | met |" in found
    assert "| findings in clean containers | 0 | 2 | **not met** |" in found
