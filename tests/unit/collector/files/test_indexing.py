"""The index of an archive, while the archive passes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from collector.container import ContainerCapture
from collector.files.indexing import indexed
from forensics_core.bundle.writer import BundleWriter, SourceNotes
from forensics_core.errors import DestinationError
from forensics_core.storage.local import LocalStorage
from forensics_core.storage.objects import ObjectWriter
from tests.unit.collector.artifacts.test_found import capture_for

MEMBERS = 20_000
"""More than there is room for in the chunks that wait."""


class Stuck(LocalStorage):
    """A place that takes nothing: for ever, or until it breaks."""

    def __init__(self, folder: Path, broken: anyio.Event) -> None:
        super().__init__(folder)
        self.asked, self.broken = anyio.Event(), broken

    @asynccontextmanager
    async def create(
        self, name: str, *, content_type: str = "application/octet-stream"
    ) -> AsyncIterator[ObjectWriter]:
        self.asked.set()
        await self.broken.wait()
        yield self.refuse(name)

    def refuse(self, name: str) -> ObjectWriter:
        raise DestinationError(f"It takes no {name}")


def archive() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for number in range(MEMBERS):
            tar.addfile(tarfile.TarInfo(f"file-{number:05}"))
    return data.getvalue()


async def pass_all(capture: ContainerCapture, data: bytes) -> None:
    async with indexed(capture, SourceNotes()) as index:
        await to_thread.run_sync(index.process, data)


@pytest.mark.timeout(60)
async def test_a_cancelled_capture_does_not_wait_for_rows_that_nobody_takes(tmp_path: Path) -> None:
    storage = Stuck(tmp_path, anyio.Event())
    capture = capture_for(tmp_path)
    capture.bundle = BundleWriter(storage)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pass_all, capture, archive())
        await storage.asked.wait()
        tasks.cancel_scope.cancel()


@pytest.mark.timeout(60)
async def test_rows_that_cannot_be_stored_end_the_archive_with_the_reason(tmp_path: Path) -> None:
    storage = Stuck(tmp_path, anyio.Event())
    capture = capture_for(tmp_path)
    capture.bundle = BundleWriter(storage)
    storage.broken.set()
    with pytest.raises(DestinationError, match="It takes no"):
        await pass_all(capture, archive())
