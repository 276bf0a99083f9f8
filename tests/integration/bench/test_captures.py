"""Captures that are not the main comparison: of cold caches, in containerd, and reading them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bench import cold, containerd, readers
from bench.cold import forget
from bench.measure import measure
from bench.page import block
from bench.procedures import OURS
from bench.runs import ProcedureRun
from bench.sink import remote_sink
from bench.subjects import Contents, room
from lab.docker import DockerEngine
from lab.images import MiB
from tests.integration.bench.command import goals, measured, python

SMALL = Contents(files=200, small=2 * MiB, noise=16 * MiB)


def on_disk(folder: Path) -> bool:
    """Whether the file system of a folder has a disk below it that reads are counted of."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, check=True)
    return kind.stdout != b"tmpfs\n"


def test_what_is_forgotten_comes_from_the_disk_again(tmp_path: Path) -> None:
    (tmp_path / "tree/inner").mkdir(parents=True)
    (tmp_path / "tree/inner/file").write_bytes(os.urandom(16 * MiB))
    os.mkfifo(tmp_path / "tree/inner/pipe")
    (tmp_path / "tree/link").symlink_to("/nowhere")
    script, env = f"cat {tmp_path}/tree/inner/file > /dev/null", {"PATH": os.defpath}
    cached = measure(script, folder=tmp_path, env=env)
    forget(tmp_path / "tree")
    again = measure(script, folder=tmp_path, env=env)
    assert cached.read < 16 * MiB
    if on_disk(tmp_path):
        assert again.read >= 16 * MiB


@pytest.mark.docker
@pytest.mark.timeout(240)
def test_captures_with_cold_caches_beside_the_pipeline(
    docker: DockerEngine, tmp_path: Path
) -> None:
    seen: list[ProcedureRun] = []
    with remote_sink() as sink:
        done = cold.measure_cold(docker, sink, SMALL, tmp_path, 1, seen.append)
    assert [run.procedure for run in seen] == list(cold.PROCEDURES)
    assert all(run.cost.read >= 16 * MiB for run in seen)
    found = cold.finding(done)
    assert f"| {OURS.title} |" in found.text
    assert found.bounds["cold"].value > 0
    assert found.goals["cold"]


@pytest.mark.docker
def test_without_room_no_bundle_is_read(docker: DockerEngine, tmp_path: Path) -> None:
    contents = Contents(noise=room(docker))
    assert readers.measure_readers(docker, contents, tmp_path, 1) is None


@pytest.mark.docker
@pytest.mark.timeout(240)
def test_parts_are_measured_alone(docker: DockerEngine, docs: Path) -> None:
    parts = ("--only", "cold", "--only", "containerd", "--only", "readers")
    done = python("bench", "--quick", *parts, "--docs", docs, docker=docker)
    assert done.returncode == 0, done.stderr
    page = docs / "performance.md"
    assert measured(page) == {"setting", "goals", "cold", "containerd", "readers"}
    assert f"| {OURS.title} |" in block(page, "cold")
    for procedure in containerd.PROCEDURES:
        assert f"| {procedure.title} |" in block(page, "containerd")
    assert block(page, "readers").count("\n| `") == len(readers.COMPARED)
    found = goals(page)
    assert all(float(found[name]) > 0 for name in ("cold", "containerd", "verify", "fetch"))
