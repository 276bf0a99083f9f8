"""What costs too much, cannot be had or ends early is told; nothing of it fails the capture."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from collector.artifacts import memory
from collector.artifacts.memory import CoreLimits
from collector.container import ContainerCapture
from collector.docker.runtime import DockerRuntime
from forensics_core.api.order import Compression
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import BundleWriter
from forensics_core.storage.storage import open_destination
from lab.docker import DockerEngine
from tests.integration.collector.memory.reading import running

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="read from the node by root only")

SEIZE = """
import ctypes, sys
libc = ctypes.CDLL(None)
assert libc.ptrace(0x4206, int(sys.argv[1]), 0, 0) == 0
print("traced", flush=True)
sys.stdin.readline()
"""


@asynccontextmanager
async def capture_of(
    runtime: DockerRuntime, container: str, folder: Path, seconds: float = 600
) -> AsyncIterator[ContainerCapture]:
    found = await runtime.find(f"docker://{container}")
    async with open_destination(str(folder)) as destination:
        deadline = anyio.current_time() + seconds
        bundle = BundleWriter(destination)
        yield ContainerCapture("web", found, runtime, bundle, Compression.ZSTD, deadline)


def gaps(capture: ContainerCapture) -> dict[str, tuple[str, bool]]:
    return {gap.what: (gap.reason, gap.requested) for gap in capture.bundle.not_captured}


async def test_what_exceeds_the_limit_is_told(
    docker: DockerEngine, image: str, runtime: DockerRuntime, tmp_path: Path
) -> None:
    async with (
        running(docker, image) as container,
        capture_of(runtime, container, tmp_path) as capture,
    ):
        await memory.collect(capture, CoreLimits(process=1 << 20))
    core = capture.bundle.artifacts[0]
    assert core.flags == (Flag.TRUNCATED,) and core.original_size < 2 << 20
    assert gaps(capture)["memory, its rest"] == ("TooLarge", True)


async def test_a_budget_of_nothing(
    docker: DockerEngine, image: str, runtime: DockerRuntime, tmp_path: Path
) -> None:
    async with (
        running(docker, image) as container,
        capture_of(runtime, container, tmp_path) as capture,
    ):
        await memory.collect(capture, CoreLimits(container=0))
    assert [each.name for each in capture.bundle.artifacts] == ["containers/web/memory/memory.json"]
    assert gaps(capture) == {"memory of processes": ("TooMany", True)}


async def test_the_smallest_processes_come_first(
    docker: DockerEngine, image: str, runtime: DockerRuntime, tmp_path: Path
) -> None:
    script = """
import os, pathlib, threading
if os.fork():
    large = b"x" * (64 << 20)
    pathlib.Path("/ready").touch()
threading.Event().wait()
"""
    async with (
        running(docker, image, script=script) as container,
        capture_of(runtime, container, tmp_path) as capture,
    ):
        await memory.collect(capture, CoreLimits(processes=1))
        first = await docker.pid(container)
    (core, _) = capture.bundle.artifacts
    assert core.name != f"containers/web/memory/{first}.core.zst"
    (gap,) = (each for each in capture.bundle.not_captured if each.reason == "TooMany")
    assert str(first) in gap.message


async def test_after_the_deadline_no_core_is_begun(
    docker: DockerEngine, image: str, runtime: DockerRuntime, tmp_path: Path
) -> None:
    async with (
        running(docker, image) as container,
        capture_of(runtime, container, tmp_path, seconds=0) as capture,
    ):
        await memory.collect(capture)
    assert gaps(capture) == {"memory of processes": ("Deadline", True)}


async def test_a_process_that_somebody_traces_stands_still_with_its_container(
    docker: DockerEngine, image: str, runtime: DockerRuntime, tmp_path: Path
) -> None:
    async with (
        running(docker, image) as container,
        capture_of(runtime, container, tmp_path) as capture,
    ):
        pid = str(await docker.pid(container))
        tracer = await anyio.open_process([sys.executable, "-c", SEIZE, pid])
        assert tracer.stdout and (await tracer.stdout.receive()).startswith(b"traced")
        await memory.collect(capture)
        tracer.kill()
        await tracer.aclose()
        assert (await docker.inspect(container))["State"]["Status"] == "running"
    core = capture.bundle.artifacts[0]
    assert core.method == "pause" and not core.flags
    assert gaps(capture)["registers"] == ("NotPermitted", True)
    (gap,) = (each for each in capture.bundle.not_captured if each.what == "registers")
    assert "traces it already" in gap.message


async def test_where_nothing_can_be_held_memory_is_read_all_the_same(
    docker: DockerEngine, image: str, runtime: DockerRuntime, tmp_path: Path
) -> None:
    async with (
        running(docker, image) as container,
        capture_of(runtime, container, tmp_path) as capture,
    ):
        await memory.collect(capture, CoreLimits(seconds=1e-6))
    core = capture.bundle.artifacts[0]
    assert core.flags == (Flag.CHANGED_WHILE_READ,) and core.method == "mem"
    assert gaps(capture)["standstill"][0] == "NotPermitted"
