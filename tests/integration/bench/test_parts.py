"""What is measured beside the comparison: other containers and networks, steps, reading back."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import cat
from bench.cases import CASES
from bench.page import block
from bench.procedures import NOWHERE, OURS
from bench.subjects import Contents, room
from lab.docker import DockerEngine
from lab.images import MiB
from tests.integration.bench.command import goals, measured, python

pytestmark = pytest.mark.docker


@pytest.mark.timeout(240)
def test_every_case_fills_its_own_place(docker: DockerEngine, docs: Path) -> None:
    options = ("--procedure", "forensics", "--docs", docs)
    done = python("bench", "--quick", *options, docker=docker)
    assert done.returncode == 0, done.stderr
    page = docs / "performance.md"
    assert measured(page) == {"setting", "goals", *(case.name for case in CASES)}
    pictures = {"bench-goals.png", *(f"bench-{case.name}.png" for case in CASES)}
    assert {path.name for path in (docs / "images").iterdir()} == pictures
    assert OURS.title in block(page, "mixed-gigabit")
    assert "over HTTP at 1 Gbit/s" in block(page, "mixed-gigabit")
    assert NOWHERE.title not in block(page, "mixed-gigabit")


@pytest.mark.timeout(240)
def test_each_step_of_a_capture_is_timed(docker: DockerEngine, docs: Path) -> None:
    options = ("--only", "profile", "--subject", "mixed", "--docs", docs)
    done = python("bench", "--quick", *options, docker=docker)
    assert done.returncode == 0, done.stderr
    page = docs / "performance.md"
    assert measured(page) == {"setting", "goals", "profile-mixed"}
    steps = [line.split(" | ")[0].strip("| ") for line in block(page, "profile-mixed").splitlines()]
    assert {
        "GNU tar reads the tree, cached",
        "zstd, level 1",
        "SHA-256 of the archive",
        "the index, with the SHA-256 of each file",
        "upload over HTTP, one object of noise",
        "upload over HTTPS, the same",
        "the same bytes into a socket, nothing else",
        "a capture of almost nothing",
        "Python's start, with `asyncio`",
    } <= set(steps)
    assert float(goals(page)["upload"]) > 0
    assert float(goals(page)["nothing"]) > 0


@pytest.mark.timeout(240)
def test_one_file_of_a_large_archive_takes_little(docker: DockerEngine, tmp_path: Path) -> None:
    contents = Contents(files=500, small=5 * MiB, noise=8 * MiB)
    readings = cat.measure_cat(docker, contents, tmp_path, count=3)
    assert readings
    assert readings.stored > 8 * MiB
    for reading in readings.each:
        assert cat.SIZE < reading.fetched < 6 * MiB
        assert reading.requests > 2
    assert {reading.requests for reading in readings.listings} == {2}
    assert cat.finding(readings).goals["cat-fetched"] == max(
        reading.fetched / MiB for reading in readings.each
    )


def test_without_room_nothing_is_read_back(docker: DockerEngine, tmp_path: Path) -> None:
    assert cat.measure_cat(docker, Contents(noise=room(docker)), tmp_path) is None
    assert cat.finding(None).goals == {}
