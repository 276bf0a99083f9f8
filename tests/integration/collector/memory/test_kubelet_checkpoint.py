"""The archive that a kubelet wrote is stored as it is, and removed from the node."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import zstandard

from collector.artifacts.checkpoint import WHAT
from collector.capture import capture
from collector.docker.runtime import DockerRuntime
from collector.limits import Stop
from forensics_core.api.order import ArtifactKind, ContainerTarget, KubeletCheckpoint, WorkOrder
from forensics_core.bundle.manifest import Artifact
from forensics_core.storage.local import LocalStorage
from lab.docker import DockerEngine
from tests.integration.collector.conftest import Bundle

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a kubelet's folder is root's")

LEFT = "the kubelet's archive, left on the node"
CONFIG = {
    "id": "4f2a",
    "name": "app",
    "rootfsImageName": "registry.example/app:1",
    "rootfsImageRef": "sha256:0",
    "runtime": "runc",
    "createdTime": "2026-11-27T20:00:00Z",
    "checkpointedTime": "2026-11-27T22:57:39Z",
}
"""Fields that `checkpointctl` has for `config.dump`."""


def checkpoint_archive(**left_out: bool) -> bytes:
    """Return an archive as containerd makes it, with the names that `checkpointctl` knows."""
    content = {
        "config.dump": json.dumps(CONFIG).encode(),
        "spec.dump": b'{"ociVersion": "1.1.0", "annotations": {}}',
        "status.dump": b"{}",
        "checkpoint/inventory.img": b"\x54\x56\x34\x12",
        "checkpoint/pstree.img": b"\x00",
        "checkpoint/pages-1.img": b"secret on the heap" + bytes(2_000_000),
        "rootfs-diff.tar": bytes(10240),
        "stats-dump": b"\x00",
        "container.log": b"",
    }
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in content.items():
            if not left_out.get(name.split(".")[0]):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return made.getvalue()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "kubelet" / "checkpoints"
    folder.mkdir(parents=True, mode=0o700)
    return folder / "checkpoint-web-0_shop-app-2026-11-27T22:57:39Z.tar"


@pytest.fixture
async def collect(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> Callable[..., Any]:
    async def run(told: KubeletCheckpoint, stop: Stop | None = None) -> None:
        async with docker.container(image) as container:
            order = WorkOrder(
                destination=f"file://{bundle.folder.parent}",
                bundle=bundle.folder.name,
                uid=uuid4(),
                targets=(ContainerTarget(name="app", container_id=f"docker://{container}"),),
                artifacts=(ArtifactKind.MEMORY,),
                kubelet_checkpoints=(told,),
            )
            await capture(order, runtime, LocalStorage(bundle.folder), stop=stop)

    return run


@contextmanager
def immutable(path: Path) -> Iterator[None]:
    """Keep root from changing a directory for the block."""
    subprocess.run(["chattr", "+i", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", path], check=True)


def stored(bundle: Bundle) -> Artifact | None:
    name = "containers/app/memory/checkpoint.tar.zst"
    found = [each for each in bundle.capture.artifacts if each.name == name]
    return found[0] if found else None


async def test_it_is_stored_and_removed_from_the_node(
    collect: Callable[..., Any], bundle: Bundle, archive: Path
) -> None:
    archive.write_bytes(checkpoint_archive())
    await collect(KubeletCheckpoint(container="app", archive=str(archive)))
    row = stored(bundle)
    assert row is not None and (row.kind, row.method) == (ArtifactKind.MEMORY, "criu")
    packed = (bundle.folder / row.name).read_bytes()
    plain = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True).read()
    assert plain == checkpoint_archive()
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        config = tar.extractfile("config.dump")
        assert config and json.loads(config.read()) == CONFIG
        assert {"spec.dump", "checkpoint/pages-1.img"} <= {*tar.getnames()}
    assert [*archive.parent.iterdir()] == []
    assert WHAT not in bundle.gaps() and LEFT not in bundle.gaps()
    assert any(each.name.endswith(".core.zst") for each in bundle.capture.artifacts)


async def test_why_there_is_none_is_told(collect: Callable[..., Any], bundle: Bundle) -> None:
    refused = KubeletCheckpoint(container="app", reason="NotSupported", message="no CRIU there")
    await collect(refused)
    assert stored(bundle) is None
    (gap,) = (gap for gap in bundle.capture.not_captured if gap.what == WHAT)
    assert (gap.reason, gap.message, gap.requested) == ("NotSupported", "no CRIU there", False)


async def test_what_checkpointctl_cannot_read_is_stored_and_told(
    collect: Callable[..., Any], bundle: Bundle, archive: Path
) -> None:
    archive.write_bytes(checkpoint_archive(config=True))
    await collect(KubeletCheckpoint(container="app", archive=str(archive)))
    assert stored(bundle) is not None
    (gap,) = (gap for gap in bundle.capture.not_captured if gap.what == WHAT)
    assert gap.reason == "Damaged" and "it lacks config.dump" in gap.message


async def test_what_is_no_archive_is_stored_and_told(
    collect: Callable[..., Any], bundle: Bundle, archive: Path
) -> None:
    archive.write_bytes(b"no tar" * 1000)
    await collect(KubeletCheckpoint(container="app", archive=str(archive)))
    assert stored(bundle) is not None
    assert bundle.gaps()[WHAT] == "Damaged"


async def test_one_that_is_gone_is_told(
    collect: Callable[..., Any], bundle: Bundle, archive: Path
) -> None:
    await collect(KubeletCheckpoint(container="app", archive=str(archive)))
    assert stored(bundle) is None
    assert bundle.gaps()[WHAT] == "Unreadable"


async def test_one_that_there_was_no_time_for_is_told(
    collect: Callable[..., Any], bundle: Bundle, archive: Path
) -> None:
    archive.write_bytes(checkpoint_archive())
    stop = Stop()
    stop.request()
    await collect(KubeletCheckpoint(container="app", archive=str(archive)), stop)
    assert archive.exists() and stored(bundle) is None
    (gap,) = (gap for gap in bundle.capture.not_captured if gap.what == LEFT)
    assert gap.reason == "Left" and str(archive) in gap.message


@pytest.mark.parametrize("kind", ["fifo", "folder"])
async def test_nothing_but_a_file_is_read(
    collect: Callable[..., Any], bundle: Bundle, archive: Path, kind: str
) -> None:
    os.mkfifo(archive) if kind == "fifo" else archive.mkdir()
    await collect(KubeletCheckpoint(container="app", archive=str(archive)))
    assert stored(bundle) is None
    assert bundle.gaps()[WHAT] == "Unreadable"
    assert archive.exists()


async def test_a_link_is_not_removed_and_neither_is_what_it_leads_to(
    collect: Callable[..., Any], bundle: Bundle, archive: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").write_bytes(checkpoint_archive())
    archive.symlink_to(tmp_path / "other")
    await collect(KubeletCheckpoint(container="app", archive=str(archive)))
    assert archive.is_symlink() and (tmp_path / "other").exists()
    assert stored(bundle) is None
    assert bundle.gaps()[WHAT] == "Unreadable"


async def test_one_that_cannot_be_removed_is_told(
    collect: Callable[..., Any], bundle: Bundle, archive: Path
) -> None:
    archive.write_bytes(checkpoint_archive())
    with immutable(archive.parent):
        await collect(KubeletCheckpoint(container="app", archive=str(archive)))
    (gap,) = (gap for gap in bundle.capture.not_captured if gap.what == LEFT)
    assert gap.reason == "Left" and str(archive) in gap.message


@pytest.mark.parametrize(
    "path",
    [
        "/etc/shadow",
        "/var/lib/kubelet/checkpoints/../../../../etc/shadow",
        "/var/lib/kubelet/checkpoints/checkpoint-a/b.tar",
        "/var/lib/kubelet/checkpoints/.checkpoint-a.tar",
        "var/lib/kubelet/checkpoints/checkpoint-a.tar",
        "/var/lib/kubelet/checkpoints/checkpoint-a.tar\n",
    ],
)
def test_no_order_names_another_path(path: str) -> None:
    with pytest.raises(ValueError, match="archive"):
        KubeletCheckpoint(container="app", archive=path)
