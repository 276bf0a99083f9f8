"""What a container does not have at all is said, and does not count as missing."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from collector.artifacts import logs, network, processes
from collector.container import ContainerCapture
from collector.files.logfiles import LogFiles
from collector.runtimes.runtime import ContainerInfo, Runtime, RuntimeProcesses, Unavailable
from forensics_core.api.order import ArtifactKind, Compression
from forensics_core.bundle.writer import BundleWriter
from forensics_core.operator.evidence.comparison import NOTHING_THERE
from forensics_core.storage.storage import open_destination

CONTAINER = ContainerInfo("cri://4f2a", "web", "", "", "exited", None, (), b"{}")


class EndedRuntime:
    """A runtime whose container ends while it is looked at."""

    async def inspect(self, container: ContainerInfo) -> ContainerInfo:
        return container

    @asynccontextmanager
    async def log_files(self, _: ContainerInfo) -> AsyncIterator[LogFiles]:
        yield LogFiles()

    async def process(self, _: ContainerInfo) -> int:
        process = await anyio.run_process([sys.executable, "-c", "import os; print(os.getpid())"])
        return int(process.stdout)

    async def runtime_processes(self, _: ContainerInfo) -> RuntimeProcesses:
        return RuntimeProcesses()


@pytest.mark.parametrize(
    ("kind", "collect"),
    [
        (ArtifactKind.LOGS, logs.collect),
        (ArtifactKind.PROCESSES, processes.collect),
        (ArtifactKind.NETWORK, network.collect),
    ],
)
async def test_it_is_said_that_there_was_nothing(
    tmp_path: Path, kind: ArtifactKind, collect: Callable[[ContainerCapture], Awaitable[None]]
) -> None:
    async with open_destination(str(tmp_path / "bundle")) as destination:
        bundle = BundleWriter(destination)
        runtime = cast(Runtime, EndedRuntime())
        deadline = anyio.current_time() + 60
        capture = ContainerCapture("web", CONTAINER, runtime, bundle, Compression.NONE, deadline)
        await collect(capture)
    (gap,) = bundle.not_captured
    assert (gap.what, gap.container, gap.requested) == (kind, "web", False)
    assert gap.reason in NOTHING_THERE


class HungRuntime(EndedRuntime):
    """A runtime whose logs lie on storage that hangs."""

    def log_files(self, _: ContainerInfo) -> Any:
        raise Unavailable("Reading the logs took more than 30 s", reason="Hung")


async def test_files_that_cannot_be_reached_are_no_empty_log(tmp_path: Path) -> None:
    async with open_destination(str(tmp_path / "bundle")) as destination:
        bundle = BundleWriter(destination)
        runtime = cast(Runtime, HungRuntime())
        deadline = anyio.current_time() + 60
        capture = ContainerCapture("web", CONTAINER, runtime, bundle, Compression.NONE, deadline)
        with pytest.raises(Unavailable, match="took more than"):
            await logs.collect(capture)


class HidingRuntime(EndedRuntime):
    """A runtime whose folder of logs cannot be listed."""

    @asynccontextmanager
    async def log_files(self, _: ContainerInfo) -> AsyncIterator[LogFiles]:
        yield LogFiles((), (("0.log", FileNotFoundError(2, "gone")),), 1, "It refuses")

    async def compare_logs(self, *_: object) -> str:
        return ""


async def test_logs_that_may_be_there_are_told(tmp_path: Path) -> None:
    async with open_destination(str(tmp_path / "bundle")) as destination:
        bundle = BundleWriter(destination)
        runtime, deadline = cast(Runtime, HidingRuntime()), anyio.current_time() + 60
        capture = ContainerCapture("web", CONTAINER, runtime, bundle, Compression.NONE, deadline)
        await logs.collect(capture)
    told = {gap.what: gap.reason for gap in bundle.not_captured}
    assert told == {"logs, others": "Unreadable", "logs, 0.log": "Gone"}
