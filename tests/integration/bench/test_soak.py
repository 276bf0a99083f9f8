from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from anyio import to_thread

from bench.sink import ROOT, RemoteSink
from bench.soak import GROWTH, Sample, capture_repeatedly, leaks, summary
from lab.docker import DockerEngine
from lab.images import MiB
from lab.process import LabError
from lab.sink import StoreSink

SOUND = Sample(
    cancelled=False,
    seconds=1.0,
    rss=100 * MiB,
    descriptors=10,
    children=1,
    tasks=1,
    uploads=0,
)


def test_nothing_leaks() -> None:
    assert leaks([SOUND] * 50) == []


@pytest.mark.parametrize(
    ("last", "found"),
    [
        (replace(SOUND, descriptors=11), "open files: 10 became 11"),
        (replace(SOUND, children=2), "child processes: 1 became 2"),
        (replace(SOUND, tasks=3), "tasks: 1 became 3"),
        (replace(SOUND, uploads=1), "open uploads: 0 became 1"),
    ],
    ids=["files", "children", "tasks", "uploads"],
)
def test_what_is_left_over_is_named(last: Sample, found: str) -> None:
    assert leaks([*[SOUND] * 5, last]) == [found]


def test_memory_may_grow_while_it_warms_up_but_not_for_ever() -> None:
    warming = [replace(SOUND, rss=number * 10 * MiB) for number in range(10)]
    assert leaks(warming) == []
    assert leaks([*warming, *[SOUND] * 100]) == []
    growing = [replace(SOUND, rss=number * GROWTH // 10) for number in range(120)]
    assert leaks(growing) == [f"memory grew by {60 * GROWTH // 10 // MiB} MiB"]


def test_the_summary_has_the_time_of_whole_captures() -> None:
    text = summary([SOUND, replace(SOUND, cancelled=True, seconds=0.1), SOUND])
    assert text.startswith("3 captures, 1 of them cancelled; 1.00 s each; memory 100 MiB")


@pytest.mark.timeout(240)
def test_a_short_soak_leaves_nothing(docker: DockerEngine) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.soak", "--quick"],
        cwd=ROOT,
        env={**os.environ, **docker.env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "6 captures" in done.stdout
    assert "0 open uploads" in done.stdout


async def test_a_partial_capture_ends_it(
    docker: DockerEngine, image: str, sink: StoreSink, use_env: Callable[[Mapping[str, str]], None]
) -> None:
    use_env({**docker.env, **sink.env})
    async with docker.container(image) as container:
        log = Path((await docker.inspect(container))["LogPath"])
        await to_thread.run_sync(log.unlink)
        with pytest.raises(LabError, match=r"A capture is partial: .*log"):
            await capture_repeatedly(container, RemoteSink(sink.endpoint), 0)
