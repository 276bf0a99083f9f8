"""A folder in place of a container, captured and brought home by the real code."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import anyio

from collector.artifacts import filesystem
from collector.pace import Pace
from collector.runtime import ContainerInfo, Runtime, Unavailable
from collector.scene import Scene
from forensics_core.api.order import Compression
from forensics_core.evidence.bundle import BundleWriter
from forensics_core.evidence.layout import container_file
from forensics_core.export.locate import open_destination
from tests.bundles import capture as predicate

CONTAINER = ContainerInfo("docker://4f2a", "web", "", "", "running", None, (), b"{}")


class FolderRuntime:
    """What a capture of the file system asks of a runtime, for a folder of this machine."""

    def __init__(self, folder: Path, export: bytes | None = None, stalls: bool = False) -> None:
        self._folder = folder
        self._export = export
        self._stalls = stalls

    @asynccontextmanager
    async def root(self, _: ContainerInfo) -> AsyncIterator[int]:
        if self._export is not None:
            raise Unavailable("It is elsewhere", reason="Remote")
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @asynccontextmanager
    async def export(self, _: ContainerInfo) -> AsyncIterator[AsyncIterator[bytes]]:
        async def blocks() -> AsyncIterator[bytes]:
            yield self._export or b""
            if self._stalls:
                await anyio.sleep_forever()

        yield blocks()

    async def inspect(self, container: ContainerInfo) -> ContainerInfo:
        return container


async def capture_tree(
    folder: Path,
    to: str,
    compression: Compression = Compression.ZSTD,
    *,
    export: bytes | None = None,
    seconds: float = 3600,
    stalls: bool = False,
    rate: int = 0,
) -> None:
    """Write a bundle whose container `web` has the files of `folder`, or of a runtime's export.

    An export that `stalls` gives all its bytes and never ends: only the deadline ends it.
    """
    async with open_destination(to) as destination:
        bundle = BundleWriter(destination)
        runtime = cast(Runtime, FolderRuntime(folder, export, stalls))
        deadline = anyio.current_time() + seconds
        scene = Scene("web", CONTAINER, runtime, bundle, compression, deadline, pace=Pace(rate))
        await filesystem.capture(scene)
        await bundle.finish(predicate())


def archive(bundle: Path) -> Path:
    """Return where the bundle has its archive; `fetch --decompress` leaves it plain."""
    return bundle / container_file("web", "rootfs.tar")


def extract(tar: Path, folder: Path) -> None:
    """Let GNU tar make the tree again."""
    folder.mkdir()
    command = ["tar", "-C", str(folder), "-xpf", str(tar), "--xattrs", "--xattrs-include=*"]
    subprocess.run([*command, "--acls", "--numeric-owner"], check=True, capture_output=True)


def described(folder: Path) -> dict[bytes, tuple[object, ...]]:
    """Return everything about a tree that a capture has to keep, by path."""
    paths = [folder, *folder.rglob("*")]
    return {os.fsencode(path.relative_to(folder)): _described(path) for path in paths}


def _described(path: Path) -> tuple[object, ...]:
    said = path.lstat()
    regular = path.is_file() and not path.is_symlink()
    attributes = {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in os.listxattr(path, follow_symlinks=False)
    }
    return (
        said.st_mode,
        (said.st_uid, said.st_gid),
        said.st_mtime_ns,
        path.read_bytes() if regular else b"",
        str(path.readlink()) if path.is_symlink() else "",
        attributes,
        said.st_nlink if regular else 0,
    )
