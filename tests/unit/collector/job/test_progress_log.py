"""Progress as JSON lines that never wait for their reader."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import anyio
import pytest

from collector.job.progress_log import progress_line, progress_logged, write_line
from forensics_core.operator.attempt.monitor import parse_progress
from forensics_core.pipeline.meter import Meter
from tests.waiting import time_passes


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe that nobody blocks on, at neither end."""
    outlet, inlet = os.pipe()
    os.set_blocking(outlet, False)
    os.set_blocking(inlet, False)
    yield outlet, inlet
    os.close(outlet)
    os.close(inlet)


def fill(inlet: int) -> None:
    with pytest.raises(BlockingIOError):
        while True:
            os.write(inlet, b"x" * 4096)


async def heard(outlet: int) -> list[object]:
    """Return how many artifacts each new line counts, once there is one."""
    await anyio.wait_readable(outlet)
    return [json.loads(line)["artifactsDone"] for line in os.read(outlet, 65536).splitlines()]


def test_the_operator_understands_a_line() -> None:
    meter = Meter(5, 4, 0, 1, 2, "containers/web/rootfs.tar.zst")
    said = parse_progress(progress_line(meter))
    assert said is not None
    assert (said.artifacts_done, said.artifacts_total) == (1, 2)
    assert (said.bytes_read, said.bytes_stored) == (5, 4)
    assert said.current == "containers/web/rootfs.tar.zst"


def test_a_line_fits_a_page_whatever_is_under_way() -> None:
    line = progress_line(Meter(current="\x00" * 5000))
    assert len(line) < 4096 and line.count(b"\n") == 1


async def test_lines_come_when_something_moved_and_at_the_end(pipe: tuple[int, int]) -> None:
    outlet, inlet = pipe
    meter = Meter(artifacts_total=2)
    async with progress_logged(meter, inlet, 0.001):
        assert await heard(outlet) == [0]
        await time_passes(0.02)
        meter.artifacts_done = 1
        assert await heard(outlet) == [1]
        await time_passes(0.02)
    assert await heard(outlet) == [1]


async def test_the_last_line_comes_although_the_work_failed(pipe: tuple[int, int]) -> None:
    outlet, inlet = pipe
    with pytest.raises(ValueError, match="broken"):
        async with progress_logged(Meter(artifacts_done=7), inlet):
            raise ValueError("broken")
    assert (await heard(outlet))[-1] == 7


async def test_a_full_pipe_is_not_waited_for(pipe: tuple[int, int]) -> None:
    outlet, inlet = pipe
    fill(inlet)
    assert not write_line(b"{}\n", inlet)
    async with progress_logged(Meter(artifacts_done=1), inlet, 0.001):
        await time_passes(0.01)
    assert set(os.read(outlet, 1 << 20)) == set(b"x")


async def test_a_line_left_out_is_made_up_for(pipe: tuple[int, int]) -> None:
    outlet, inlet = pipe
    fill(inlet)
    async with progress_logged(Meter(artifacts_done=3), inlet, 0.001):
        await time_passes(0.01)
        assert set(os.read(outlet, 1 << 20)) == set(b"x")
        assert await heard(outlet) == [3]


def test_nobody_listens_any_more() -> None:
    outlet, inlet = os.pipe()
    os.close(outlet)
    assert write_line(b"{}\n", inlet)
    os.close(inlet)
