"""From a request to the pod that may be killed, measured by steps: a few requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.page import block
from bench.request import finding
from forensics_core.api.steps import Step
from lab.docker import DockerEngine
from tests.integration.bench.command import python


@pytest.mark.docker
@pytest.mark.timeout(240)
def test_every_step_of_a_request_is_measured(docker: DockerEngine, docs: Path) -> None:
    options = ("--runs", "1", "--containers", "2", "--docs", docs)
    done = python("bench.request", *options, docker=docker)
    assert done.returncode == 0, done.stderr
    page = block(docs / "performance.md", "request")
    for step in Step:
        assert f"| `{step}` |" in page
    assert "one with 2 such containers" in page


def test_a_step_that_was_not_timed_takes_no_time_of_its_own() -> None:
    small = [{"Reaction": 1000, "Capture": 500}, {"Reaction": 2000, "Capture": 700}]
    text = finding(small, {"Capture": 3000}, 20).text
    assert "| `Reaction` | 1.50 | 2.00 | 0.00 |" in text
    assert "| `Check` | 0.00 | 0.00 | 0.00 |" in text
    assert "| all | 2.10 | 2.70 | 3.00 |" in text
