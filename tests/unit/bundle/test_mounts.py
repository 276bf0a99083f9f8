"""One tree out of two archives: what is mounted hides what lies beneath, and is never made up."""

from __future__ import annotations

import json
import os
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from collector.artifacts import filesystem
from collector.artifacts import mounts as artifact
from collector.container import ContainerCapture
from collector.files.mountarchive import OpenMount
from collector.files.mountstream import MountStream
from collector.runtimes.runtime import Runtime
from forensics_core.api.order import ArtifactKind, Compression
from forensics_core.bundle.content import find_file, read_file
from forensics_core.bundle.files import open_index
from forensics_core.bundle.layout import MOUNTS
from forensics_core.bundle.reader import open_bundle
from forensics_core.bundle.writer import BundleWriter
from forensics_core.errors import ForensicsError, VerificationError
from forensics_core.storage.storage import open_destination
from tests.bundles import capture as predicate
from tests.integration.collector.folder_container import CONTAINER, FolderRuntime


def row(path: str, state: str = "missing", kind: str = "tmpfs", **more: str) -> dict[str, str]:
    return {"path": path, "type": kind, "source": "x", "state": state, **more}


async def write(
    folder: Path, table: bytes | None, rootfs: Path, mounted: Path | None = None
) -> str:
    """Write a bundle of `rootfs`, of `mounted` at /shm, and of a table of mounts."""
    async with open_destination(str(folder)) as destination:
        bundle = BundleWriter(destination)
        runtime = cast(Runtime, FolderRuntime(rootfs))
        deadline = anyio.current_time() + 60
        capture = ContainerCapture("web", CONTAINER, runtime, bundle, Compression.ZSTD, deadline)
        if mounted:
            place = os.open(mounted, os.O_PATH)
            await artifact.store(capture, MountStream(), [OpenMount(b"/shm", place)])
            os.close(place)
        if table is not None:
            await capture.add_json(MOUNTS, ArtifactKind.FILESYSTEM, table, method="mounts")
        await filesystem.collect(capture)
        await bundle.finish(predicate(), [])
    return str(folder)


def tabled(*rows: dict[str, Any]) -> bytes:
    return json.dumps({"method": "mountinfo", "mounts": rows}).encode()


async def content(location: str, path: bytes) -> bytes:
    async with open_bundle(location) as bundle:
        index = await open_index(bundle, "web")
        found = await find_file(index, path)
        async with aclosing(read_file(bundle, index, found)) as blocks:
            return b"".join([block async for block in blocks])


async def listed(location: str, path: bytes) -> list[bytes]:
    async with open_bundle(location) as bundle:
        index = await open_index(bundle, "web")
        return [found.path for found in await index.list(path)]


async def everything(location: str, below: bytes = b"/") -> dict[bytes, str]:
    async with open_bundle(location) as bundle:
        index = await open_index(bundle, "web")
        return {found.path: found.hidden async for found in index.rows(below)}


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A file system with things beneath what is mounted."""
    for name in ("shm/beneath", "data/beneath", "etc/hosts", "etc/passwd"):
        (tmp_path / "rootfs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "rootfs" / name).touch()
    (tmp_path / "rootfs/etc/passwd").write_text("root")
    return tmp_path / "rootfs"


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """What is mounted at /shm."""
    (tmp_path / "shm/dir").mkdir(parents=True)
    (tmp_path / "shm/dir/loot").write_text("loot")
    return tmp_path / "shm"


async def test_a_mount_hides_what_lies_beneath(tmp_path: Path, rootfs: Path, mounted: Path) -> None:
    table = tabled(
        row("/", "root", "overlay"),
        row("/shm", "captured"),
        row("/data", kind="ext4"),
        row("/etc/passwd", reason="OtherNamespace"),
        row("/", reason="Stacked"),
    )
    location = await write(tmp_path / "bundle", table, rootfs, mounted)
    assert await content(location, b"/shm/dir/loot") == b"loot"
    assert await content(location, b"/etc/passwd") == b"root"
    assert await listed(location, b"/shm") == [b"/shm/dir"]
    assert await listed(location, b"/") == [b"/data", b"/etc", b"/shm"]
    assert await listed(location, b"/data") == []
    rows = await everything(location)
    assert rows.keys() >= {b"/shm", b"/shm/dir", b"/shm/dir/loot", b"/data", b"/etc/hosts"}
    assert not rows.keys() & {b"/shm/beneath", b"/data/beneath"}
    assert rows[b"/data"] == "'/data' is a mount (ext4) that was not captured" and not rows[b"/etc"]
    assert set(await everything(location, b"/shm/dir")) == {b"/shm/dir", b"/shm/dir/loot"}
    for path in (b"/data", b"/data/beneath", b"/data/x"):
        with pytest.raises(ForensicsError, match="not captured"):
            await content(location, path)
    with pytest.raises(ForensicsError, match="is not in the archive"):
        await content(location, b"/shm/beneath")


async def test_the_same_files_at_another_path(tmp_path: Path, rootfs: Path, mounted: Path) -> None:
    table = tabled(
        row("/shm", "captured"),
        row("/data", "captured", sameAs="/shm/dir"),
        row("/etc/hosts", sameAs="/etc/passwd", kind="overlay"),
    )
    location = await write(tmp_path / "bundle", table, rootfs, mounted)
    assert await content(location, b"/data/loot") == b"loot"
    with pytest.raises(ForensicsError, match="the same files are at '/etc/passwd'"):
        await content(location, b"/etc/hosts")


async def test_mounts_that_lead_in_a_circle(tmp_path: Path, rootfs: Path) -> None:
    table = tabled(row("/data", "captured", sameAs="/shm"), row("/shm", "captured", sameAs="/data"))
    location = await write(tmp_path / "bundle", table, rootfs)
    with pytest.raises(ForensicsError, match="is not in the archive"):
        await content(location, b"/data/beneath")
    assert await listed(location, b"/data") == []


async def test_a_mount_point_without_a_row(tmp_path: Path, rootfs: Path) -> None:
    location = await write(tmp_path / "bundle", tabled(row("/gone"), row("/etc/gone")), rootfs)
    assert b"/gone" not in await listed(location, b"/")
    with pytest.raises(ForensicsError, match=r"'/gone' is a mount \(tmpfs\) that was not captured"):
        await content(location, b"/gone")


@pytest.mark.parametrize(
    "table",
    [
        b"{",
        b"[]",
        b'{"mounts": 5}',
        b'{"mounts": [5]}',
        b'{"mounts": [{"path": 5}]}',
        b'{"mounts": [{"path": {"base64": "!"}, "type": "", "source": "", "state": ""}]}',
        b"[" * 100_000,
    ],
)
async def test_a_table_that_is_none(tmp_path: Path, rootfs: Path, table: bytes) -> None:
    location = await write(tmp_path / "bundle", table, rootfs)
    with pytest.raises(VerificationError, match=r"The table of mounts of 'web'.* is damaged"):
        await content(location, b"/etc/passwd")
    async with open_bundle(str(location)) as bundle:
        index = await open_index(bundle, "web")
        found = []
        with pytest.raises(VerificationError, match="is damaged"):
            async for batch in index.batches():
                found += [row.path for row in batch]
        assert b"/etc/passwd" in found, "what can be read is"


async def test_a_bundle_of_an_older_release(tmp_path: Path, rootfs: Path) -> None:
    """It has no table of mounts: its empty /etc/hosts is only what lay beneath."""
    location = await write(tmp_path / "bundle", None, rootfs)
    with pytest.raises(ForensicsError, match="is mounted by the runtime, and was not captured"):
        await content(location, b"/etc/hosts")
    (rootfs / "etc/hosts").write_text("an image's own")
    location = await write(tmp_path / "another", None, rootfs)
    assert await content(location, b"/etc/hosts") == b"an image's own"
    assert await content(location, b"/shm/beneath") == b""
