"""This release beside another one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.page import block
from lab.docker import DockerEngine
from tests.integration.bench.command import measured, python

pytestmark = pytest.mark.docker


@pytest.mark.timeout(300)
def test_a_release_is_measured_beside_another(docker: DockerEngine, docs: Path) -> None:
    other = Path(sys.executable).with_name("forensics")
    options = ("--quick", "--release", "itself", "--docs", docs)
    done = python("bench.before", other, *options, docker=docker)
    assert done.returncode == 0, done.stderr
    page = docs / "performance.md"
    assert measured(page) == {"before", "goals"}
    text = block(page, "before")
    assert "beside itself" in text
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[2:]] == [
        "almost nothing",
        "almost nothing, 50 processes",
        "60,000 files and zeros, 50 processes",
    ]
    for row in rows[2:]:
        assert all(float(cell) > 0 for cell in row[1:7])


def test_what_is_no_command_is_refused(docker: DockerEngine, docs: Path) -> None:
    done = python("bench.before", docs / "nothing", docker=docker)
    assert done.returncode == 2
    assert "does not exist" in done.stderr
