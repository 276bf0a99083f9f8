from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.memory import Large, measure_memory
from bench.procedures import NOWHERE, OURS_PLAIN, PROCEDURES, Procedure
from bench.runs import Bench, Run
from bench.sink import ROOT, RemoteSink, remote_sink
from bench.subjects import room
from lab.docker import Engine
from lab.process import LabError

pytestmark = pytest.mark.docker


def python(*arguments: str | Path, docker: Engine) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**os.environ, **docker.env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(240)
def test_the_whole_benchmark_on_a_tiny_container(docker: Engine, tmp_path: Path) -> None:
    shutil.copy(ROOT / "docs" / "performance.md", tmp_path)
    done = python("bench", "--quick", "--docs", tmp_path, docker=docker)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "performance.md").read_text()
    assert "a container with 200 small files" in page
    for procedure in PROCEDURES:
        assert f"| {procedure.title} |" in page
    assert page.count("| 32 MiB |") == 2
    assert (tmp_path / "images" / "bench.png").stat().st_size > 10_000


def test_only_what_was_asked_for_is_measured(docker: Engine) -> None:
    done = python("bench", "--quick", "--files", "50", "--only", "nowhere", docker=docker)
    assert done.returncode == 0, done.stderr
    assert "a container with 50 small files" in done.stdout
    assert NOWHERE.title in done.stdout
    assert OURS_PLAIN.title not in done.stdout
    assert "MiB peak" in done.stderr


@pytest.fixture
def sink() -> Iterator[RemoteSink]:
    with remote_sink() as running:
        yield running


@pytest.fixture
def bench(docker: Engine, sink: RemoteSink, tmp_path: Path) -> Bench:
    return Bench(docker, sink, tmp_path)


@pytest.mark.parametrize(
    ("script", "stores"),
    [
        ("true", True),
        ('echo 1 | aws s3 cp - "$TO"', False),
        ("aws s3api create-multipart-upload --bucket bench --key open", True),
    ],
    ids=["nothing stored", "something stored", "an upload left open"],
)
def test_a_procedure_that_leaves_the_wrong_things_is_no_result(
    bench: Bench, script: str, stores: bool
) -> None:
    with pytest.raises(LabError, match="'wrong' did not leave in S3 what it should"):
        bench.run(Procedure("wrong", "", script, stores), "none")


def test_rounds_are_in_order_and_begin_with_another_procedure_each(
    docker: Engine, bench: Bench
) -> None:
    one, two = (Procedure(name, name, "true", stores=False) for name in ("one", "two"))
    order: list[Run] = []
    rounds = bench.rounds([one, two], "none", 2, order.append)
    assert [run.procedure for run in order] == [one, two, two, one]
    assert [[run.procedure for run in runs] for runs in rounds] == [[one, two], [one, two]]


def test_what_has_no_room_is_not_measured_and_said_so(
    docker: Engine, bench: Bench, tmp_path: Path
) -> None:
    size = room(docker) * 2
    assert measure_memory(bench, docker, [size], tmp_path, lambda _: None) == [Large(size, None)]


def test_a_missing_tool_is_named(
    docker: Engine, sink: RemoteSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match="Not installed: bash, docker"):
        Bench(docker, sink, tmp_path)


def test_what_goes_wrong_is_one_line(docker: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = python("bench", "--quick", docker=docker)
    assert done.returncode == 1
    said = "Error: Not installed: bash, docker, tar, zstd. Run lab/install.sh."
    assert done.stderr.startswith(said)
