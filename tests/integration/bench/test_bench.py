from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.goals import GOALS
from bench.memory import LargeFileCapture, measure_memory
from bench.page import block
from bench.procedures import PROCEDURES, Procedure
from bench.runs import Bench, ProcedureRun
from bench.sink import RemoteSink, remote_sink
from bench.subjects import room
from lab.docker import DockerEngine
from lab.process import LabError
from tests.integration.bench.command import goals, measured, python

pytestmark = pytest.mark.docker


@pytest.mark.timeout(240)
def test_every_procedure_on_a_tiny_container(docker: DockerEngine, docs: Path) -> None:
    options = ("--only", "cases", "--only", "memory", "--subject", "mixed", "--link", "http")
    done = python("bench", "--quick", *options, "--docs", docs, docker=docker)
    assert done.returncode == 0, done.stderr
    page = docs / "performance.md"
    assert measured(page) == {"setting", "goals", "mixed-http", "memory"}
    assert "a container with 200 small files and one large file of zeros" in page.read_text()
    for procedure in PROCEDURES:
        assert f"| {procedure.title} |" in block(page, "mixed-http")
    assert block(page, "memory").count("| 32 MiB |") == 3
    assert "(images/bench-mixed-http.png)" in block(page, "mixed-http")
    assert (docs / "images" / "bench-mixed-http.png").stat().st_size > 10_000
    found = goals(page)
    assert found["scratch"] == "0"
    known = {name for name, value in found.items() if value != "not measured"}
    assert known == {"mixed", "mixed-cpu", "mixed-plain", "script", "nowhere", "scratch"}
    assert found.keys() == GOALS.keys()
    assert (docs / "images" / "bench-goals.png").stat().st_size > 10_000


def test_what_is_not_compared_is_wrong_usage(docker: DockerEngine) -> None:
    done = python("bench", "--subject", "text", "--link", "gigabit", docker=docker)
    assert done.returncode == 2
    assert "There is no comparison of this subject over this link" in done.stderr


@pytest.fixture
def sink() -> Iterator[RemoteSink]:
    with remote_sink() as running:
        yield running


@pytest.fixture
def bench(docker: DockerEngine, sink: RemoteSink, tmp_path: Path) -> Bench:
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
    docker: DockerEngine, bench: Bench
) -> None:
    one, two = (Procedure(name, name, "true", stores=False) for name in ("one", "two"))
    order: list[ProcedureRun] = []
    rounds = bench.rounds([one, two], "none", 2, order.append)
    assert [run.procedure for run in order] == [one, two, two, one]
    assert [[run.procedure for run in runs] for runs in rounds] == [[one, two], [one, two]]


def test_what_has_no_room_is_not_measured_and_said_so(
    docker: DockerEngine, bench: Bench, tmp_path: Path
) -> None:
    size = room(docker) * 2
    _, large = measure_memory(bench, docker, [size], tmp_path, lambda _: None)
    assert large == LargeFileCapture(size, None)


def test_a_missing_tool_is_named(
    docker: DockerEngine, sink: RemoteSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match="Not installed: bash, docker"):
        Bench(docker, sink, tmp_path)


def test_what_goes_wrong_is_one_line(docker: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = python("bench", "--quick", docker=docker)
    assert done.returncode == 1
    said = "Error: Not installed: bash, docker, tar, zstd. Run lab/install.sh."
    assert done.stderr.startswith(said)
