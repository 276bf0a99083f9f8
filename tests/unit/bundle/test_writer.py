"""What a bundle's writer does where the store answers what no manifest can hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.writer import ArtifactSpec, BundleWriter
from forensics_core.storage.blocks import one
from forensics_core.storage.local import LocalStorage
from forensics_core.storage.objects import Buffer, ObjectWriter, StoredObject


class OddVersions(LocalStorage):
    """A folder that says of each object which version it is, in words."""

    def create(
        self, name: str, *, content_type: str = "application/octet-stream"
    ) -> AbstractAsyncContextManager[ObjectWriter]:
        return self._create(name)

    @asynccontextmanager
    async def _create(self, name: str) -> AsyncIterator[ObjectWriter]:
        async with super().create(name) as writer:
            yield _InWords(writer)


class _InWords:
    def __init__(self, writer: ObjectWriter) -> None:
        self._writer = writer

    async def write(self, block: Buffer) -> None:
        await self._writer.write(block)

    async def commit(self) -> StoredObject:
        return replace(await self._writer.commit(), version_id="the first one")


async def test_a_version_that_no_manifest_can_hold_is_no_fault_of_the_order(tmp_path: Path) -> None:
    """A `ValueError` becomes a gap of the one artifact; a `UsageError` would end the capture."""
    bundle = BundleWriter(OddVersions(tmp_path))
    spec = ArtifactSpec("containers/web/inspect.json", ArtifactKind.INSPECT)
    with pytest.raises(ValueError, match="the first one"):
        await bundle.add(spec, one(b"{}"))
    assert bundle.artifacts == []
