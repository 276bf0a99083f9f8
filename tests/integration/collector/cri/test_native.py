"""A snapshotter without overlay: everything but the cheap list of changes, and it says so."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from collector.local import CaptureOptions, capture_container
from forensics_core.api.order import ArtifactKind, Compression
from forensics_core.bundle.manifest import Capture, Statement
from lab.containerd import Containerd, running_containerd
from lab.images import busybox_rootfs
from lab.process import in_thread

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containerd talks to root only")


@pytest.fixture
async def native(use_env: Callable[[Mapping[str, str]], None]) -> AsyncIterator[Containerd]:
    """A containerd that keeps a whole copy for each container."""
    async with in_thread(running_containerd("native")) as engine:
        use_env(engine.env)
        yield engine


async def test_running_and_stopped(native: Containerd, tmp_path: Path) -> None:
    image = await native.import_image(busybox_rootfs(tmp_path / "rootfs"))
    async with native.container(image) as container:
        await native.exec(container, "echo hello > /tmp/greeting")
        await check(container, tmp_path / "running")
        await native.stop(container)
        await check(container, tmp_path / "stopped")


async def check(container: str, folder: Path) -> None:
    kinds = [ArtifactKind.DIFF, ArtifactKind.FILESYSTEM]
    options = CaptureOptions(kinds, Compression.NONE, name="case", subpath="", layer_seconds=60)
    await capture_container(f"containerd://{container}", to=str(folder), options=options)
    manifest = (folder / "case/manifest.json").read_bytes()
    capture: Capture = Statement.from_bytes(manifest).predicate
    (gap,) = [gap for gap in capture.not_captured if gap.what == "diff"]
    assert gap.reason == "NotSupported" and "native is not an overlay" in gap.message
    assert "lists no changes" in gap.message
    (archive,) = (folder / "case").rglob("rootfs.tar")
    with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as tar:
        greeting = tar.extractfile("./tmp/greeting")
        assert greeting and greeting.read() == b"hello\n"
