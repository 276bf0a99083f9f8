"""Containers that are paused for a capture go on afterwards, whatever becomes of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from collector.local import CaptureOptions, capture_container
from collector.pausing.pause import Pause, paused
from collector.runtimes.opening import open_runtime
from collector.runtimes.runtime import Runtime
from forensics_core.api.order import ArtifactKind
from tests.integration.collector.conftest import Bundle

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containerd talks to root only")

HOLD = """
import sys, anyio
from collector.pausing.pause import paused
from collector.runtimes.opening import open_runtime

async def main(reference):
    async with open_runtime(reference.partition(":")[0]) as runtime:
        async with paused(runtime, [await runtime.find(reference)]):
            print("held", flush=True)
            await anyio.sleep_forever()

anyio.run(main, sys.argv[1])
"""


@pytest.fixture(params=["docker", "containerd"])
def scheme(request: pytest.FixtureRequest, use_env: Callable[[Mapping[str, str]], None]) -> str:
    use_env(request.getfixturevalue(request.param).env)
    return str(request.param)


@pytest.fixture
def engine(scheme: str, request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(scheme)


@pytest.fixture
def its_image(scheme: str, request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue({"docker": "image", "containerd": "cri_image"}[scheme])


async def until(runtime: Runtime, reference: str, state: str) -> None:
    while (await runtime.find(reference)).state != state:  # noqa: ASYNC110  # nothing tells
        await anyio.sleep(0.05)


async def test_it_is_held_for_the_block(scheme: str, engine: Any, its_image: str) -> None:
    async with engine.container(its_image) as container, open_runtime(scheme) as runtime:
        found = await runtime.find(f"{scheme}://{container}")
        async with paused(runtime, [found]) as pause:
            assert (await runtime.inspect(found)).state == "paused"
        assert (await runtime.inspect(found)).state == "running"
    assert pause == Pause()


async def test_a_capture_that_is_killed(scheme: str, engine: Any, its_image: str) -> None:
    async with engine.container(its_image) as container, open_runtime(scheme) as runtime:
        reference = f"{scheme}://{container}"
        holder = await anyio.open_process([sys.executable, "-c", HOLD, reference])
        assert holder.stdout
        assert (await holder.stdout.receive()).startswith(b"held")
        await until(runtime, reference, "paused")
        holder.kill()
        await holder.wait()
        await until(runtime, reference, "running")
        await holder.aclose()


async def test_a_supervisor_that_is_killed(scheme: str, engine: Any, its_image: str) -> None:
    async with engine.container(its_image) as container, open_runtime(scheme) as runtime:
        found = await runtime.find(f"{scheme}://{container}")
        async with paused(runtime, [found]) as pause:
            for number in await to_thread.run_sync(supervisors, found.container_id):
                os.kill(number, 9)
            await until(runtime, found.container_id, "running")
        assert (await runtime.inspect(found)).state == "running"
    assert pause.failures == {} and pause.ended_early


def supervisors(container: str) -> list[int]:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [
        int(number)
        for number in children
        if container.encode() in Path(f"/proc/{number}/cmdline").read_bytes()
    ]


async def test_the_limit_comes_first(scheme: str, engine: Any, its_image: str) -> None:
    async with engine.container(its_image) as container, open_runtime(scheme) as runtime:
        reference = f"{scheme}://{container}"
        async with paused(runtime, [await runtime.find(reference)], 0.2) as pause:
            await until(runtime, reference, "running")
    assert pause.ended_early


async def test_the_time_begins_with_the_first_pause(
    scheme: str, engine: Any, its_image: str
) -> None:
    """With none at all, there is no pause, and nothing stands still afterwards."""
    async with engine.container(its_image) as container, open_runtime(scheme) as runtime:
        found = await runtime.find(f"{scheme}://{container}")
        async with paused(runtime, [found], 0) as pause:
            assert pause.ended_early
        assert (await runtime.inspect(found)).state == "running"


async def test_what_stood_still_before_stays_so(scheme: str, engine: Any, its_image: str) -> None:
    async with engine.container(its_image) as container, open_runtime(scheme) as runtime:
        found = await runtime.find(f"{scheme}://{container}")
        await runtime.pause(found)
        still = await runtime.inspect(found)
        async with paused(runtime, [still]):
            pass
        assert (await runtime.inspect(found)).state == "paused"
        await runtime.resume(found)


async def test_a_container_that_is_gone_is_named(scheme: str, engine: Any, its_image: str) -> None:
    async with open_runtime(scheme) as runtime:
        async with engine.container(its_image) as container:
            found = await runtime.find(f"{scheme}://{container}")
        async with paused(runtime, [found]) as pause:
            pass
    assert list(pause.failures) == [found.container_id]


async def test_a_whole_capture(scheme: str, engine: Any, its_image: str, bundle: Bundle) -> None:
    async with engine.container(its_image) as container, open_runtime(scheme) as runtime:
        reference = f"{scheme}://{container}"
        options = CaptureOptions(
            [ArtifactKind.PROCESSES, ArtifactKind.DIFF],
            name="case",
            pause=True,
            subpath="",
            layer_seconds=60,
        )
        result = await capture_container(reference, to=str(bundle.folder.parent), options=options)
        assert (await runtime.find(reference)).state == "running"
        name = bundle.capture.containers[0].name
    assert not result.partial and not bundle.gaps()
    assert bundle.json(f"containers/{name}/processes.json")["processes"]


def test_the_supervisor_alone_ends_with_its_input() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "collector.pausing.thaw", "5", "docker://none"],
        input=b"",
        capture_output=True,
        env={**os.environ, "DOCKER_HOST": "unix:///no/such/socket"},
        check=True,
    )
    first, second = done.stdout.splitlines()
    assert b'"failed"' in first and b'"ready"' in second
