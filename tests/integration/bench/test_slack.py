"""The Slack bot's benchmark: that it runs, and what it makes of its numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.slack import MiB, SlackLoad, SlackMeasurement, block
from tests.integration.bench.quick import quick_page


@pytest.mark.timeout(240)
def test_the_bots_benchmark_with_a_few_commands(tmp_path: Path) -> None:
    page = quick_page("slack", tmp_path, "slack.md")
    assert "1 times 10 commands at once, while 5 running checkpoints were watched" in page
    assert "| calls that came too often for Slack | 0 | 0 | met |" in page


def test_goals_are_judged() -> None:
    acknowledged = [0.1] * 95 + [0.7] * 5
    measured = SlackMeasurement(SlackLoad(), acknowledged, 1, 0, 2.9, 1.5, 100 * MiB)
    found = block(measured)
    assert "| acknowledgement, median, ms | 500 | 100 | met |" in found
    assert "| acknowledgement, 99th percentile, ms | 500 | 700 | **not met** |" in found
    assert "| commands acknowledged too late | 0 | 1 | **not met** |" in found
    assert "| least seconds between edits of a message | 3 | 2.9 | **not met** |" in found
    assert "| peak MiB of the bot | 512 | 100 | met |" in found
