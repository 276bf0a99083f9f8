"""Logs in masses: the newest are captured, and the others are counted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast

import anyio

from collector.artifacts import logs
from collector.runtimes.runtime import ContainerInfo, Runtime
from collector.scene import Scene
from forensics_core.api.order import Compression
from forensics_core.evidence.bundle import BundleWriter
from forensics_core.export.blocks import one
from forensics_core.export.folder import FolderDestination
from tests.integration.collector.conftest import Bundle
from tests.integration.collector.trees import CONTAINER


class Talkative:
    """What the capture of logs asks of a runtime."""

    @asynccontextmanager
    async def logs(
        self, container: ContainerInfo, stream: str
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        yield cast(AsyncIterator[bytes], one(stream.encode()))


async def test_more_logs_than_are_captured(bundle: Bundle) -> None:
    names = tuple(f"{number}.log" for number in range(logs.MAX_FILES + 3))
    writer = BundleWriter(FolderDestination(bundle.folder))
    scene = Scene(
        "web",
        replace(CONTAINER, log_streams=names),
        cast(Runtime, Talkative()),
        writer,
        Compression.NONE,
        anyio.current_time() + 3600,
    )
    await logs.capture(scene)
    assert bundle.names() == {f"containers/web/logs/{name}" for name in names[3:]}
    (gap,) = writer.not_captured
    assert gap.reason == "TooLarge" and "newest 64 of 67" in gap.message
