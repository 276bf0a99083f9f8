"""Artifacts on their way over a slow network: the level of compression follows it, and nothing is
lost.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from forensics_core.api.order import ArtifactKind, Compression
from forensics_core.bundle.manifest import Artifact
from forensics_core.bundle.writer import ArtifactSpec, BundleWriter
from forensics_core.pipeline.levels import FIRST, UNKNOWN
from forensics_core.storage.blocks import BLOCK_SIZE
from forensics_core.storage.budget import MIB, ByteBudget
from forensics_core.storage.s3.storage import S3Storage
from forensics_core.storage.storage import open_storage
from lab.sink import running_sink

BLOCKS = 20


async def half_noise() -> AsyncIterator[bytes]:
    for _ in range(BLOCKS):
        yield os.urandom(BLOCK_SIZE // 2) + bytes(BLOCK_SIZE // 2)


async def stored(to: str, compression: Compression) -> Artifact:
    async with open_storage(to, budget=ByteBudget(10 * MIB)) as storage:
        spec = ArtifactSpec("rootfs.tar.zst", ArtifactKind.FILESYSTEM, compression=compression)
        return await BundleWriter(storage).add(spec, half_noise())


async def test_a_slow_network_raises_the_level(
    use_env: Callable[[Mapping[str, str]], None],
) -> None:
    with running_sink(rate=10 * MIB) as sink:
        use_env(sink.env)
        artifact = await stored("s3://cases/a", Compression.AUTO)
        assert sink.count("UploadPart") > 1
    assert artifact.compression is Compression.ZSTD
    assert sum(artifact.frames_by_level.values()) == BLOCKS
    assert max(map(int, artifact.frames_by_level)) > UNKNOWN


async def test_nothing_is_known_of_a_network_until_something_came_through(
    use_env: Callable[[Mapping[str, str]], None],
) -> None:
    with running_sink() as sink:
        use_env(sink.env)
        budget = ByteBudget(10 * MIB)
        async with open_storage("s3://cases/a", budget=budget) as storage:
            assert isinstance(storage, S3Storage)
            assert storage.fullness() is None
            await budget.reserve(10 * MIB)
            budget.leave(4 * MIB)
            assert storage.fullness() is None
            budget.leave(4 * MIB)
            assert storage.fullness() == 0.8
            budget.gone(6 * MIB)
            assert storage.fullness() == 0.2


@pytest.mark.parametrize("compression", [Compression.AUTO, Compression.ZSTD])
async def test_in_a_folder_and_at_a_fixed_level_the_first_one_stays(
    compression: Compression, tmp_path: Path
) -> None:
    artifact = await stored(str(tmp_path), compression)
    assert artifact.frames_by_level == {str(FIRST): BLOCKS}
