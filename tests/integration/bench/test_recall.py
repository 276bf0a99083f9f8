"""How much of an intruder's visit this tool brings home, on real runtimes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.page import block
from bench.recall.contestants import OURS, OURS_ALL
from bench.recall.judge import TraceOutcome, TraceVerdict
from bench.recall.measure import Round, measure
from bench.sink import ROOT
from lab.containerd import Containerd
from lab.docker import DockerEngine
from tests.integration.bench.command import python

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can let the intruder in"),
    pytest.mark.timeout(240),
]


def of(verdicts: list[TraceVerdict], *outcomes: TraceOutcome) -> set[str]:
    """Return the traces that ended so."""
    return {each.planted.trace.id for each in verdicts if each.outcome in outcomes}


def check(found: Round) -> None:
    assert not found.failed
    for name in (OURS, OURS_ALL):
        assert len(found.verdicts[name]) >= 40, "not every kernel has everything"
        assert of(found.verdicts[name], TraceOutcome.SILENT) == set(), name
        # A name alone could be anything: what is not home is told as well.
        lost = [each for each in found.verdicts[name] if each.outcome is not TraceOutcome.BYTES]
        assert {each.planted.trace.id for each in lost if not each.reported} == set(), name
    assert {name for name, is_seen in found.seen.items() if not is_seen} == set(), "by the rules"
    assert len(found.seen) >= 20, "not every kernel has everything"


async def test_no_trace_is_silently_missing_on_docker(docker: DockerEngine, tmp_path: Path) -> None:
    check(await measure("docker", tmp_path, (OURS, OURS_ALL), docker))


async def test_no_trace_is_silently_missing_on_containerd(
    containerd: Containerd, tmp_path: Path
) -> None:
    check(await measure("containerd", tmp_path, (OURS, OURS_ALL), containerd))


async def test_an_export_loses_what_never_was_on_the_disk(
    docker: DockerEngine, tmp_path: Path
) -> None:
    found = (await measure("docker", tmp_path, ("export",), docker)).verdicts["export"]
    assert {"file", "cron", "beneath", "bind-over"} <= of(found, TraceOutcome.BYTES)
    assert {"xattr", "timestomp"} <= of(found, TraceOutcome.NAME)
    lost = {"heap", "memfd", "deleted-program", "environment", "tcp", "shm-file", "host-path"}
    assert lost <= of(found, TraceOutcome.SILENT)


def test_the_page_has_tables_and_a_picture(docker: DockerEngine, tmp_path: Path) -> None:
    page = tmp_path / "recall.md"
    page.write_text((ROOT / "docs" / "recall.md").read_text())
    options = ("--runtime", "docker", "--tool", "export", "--docs", tmp_path)
    done = python("bench.recall", *options, docker=docker)
    assert done.returncode == 0, done.stderr
    assert "silently missing" in done.stderr
    assert block(page, "recall-sum").count("| `docker export` | docker |") == 1
    assert "| a cron job | bytes |" in block(page, "recall-traces")
    assert "Docker Engine" in block(page, "recall-setting")
    assert (tmp_path / "images" / "recall.png").stat().st_size > 5_000
