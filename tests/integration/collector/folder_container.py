"""A folder in place of a container, captured and brought home by the real code."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, cast

import anyio

from collector.artifacts import filesystem
from collector.container import ContainerCapture
from collector.files.gnu_tar import TREE_LIMITS, TreeLimits
from collector.limits import RateLimit
from collector.runtimes.runtime import ContainerInfo, Runtime, Unavailable
from forensics_core.api.order import Compression
from forensics_core.bundle.layout import container_file
from forensics_core.bundle.writer import BundleWriter
from forensics_core.storage.storage import open_destination
from tests.bundles import capture as predicate

CONTAINER = ContainerInfo("docker://4f2a", "web", "", "", "running", None, (), b"{}")


class FolderRuntime:
    """What a capture of the file system asks of a runtime, for a folder of this machine."""

    def __init__(self, folder: Path, export: bytes | None = None, stalls: bool = False) -> None:
        self.folder = folder
        self._export = export
        self._stalls = stalls

    @asynccontextmanager
    async def root(self, _: ContainerInfo) -> AsyncIterator[int]:
        if self._export is not None:
            raise Unavailable("It is elsewhere", reason="Remote")
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
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
    limits: TreeLimits = TREE_LIMITS,
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
        capture = ContainerCapture(
            "web", CONTAINER, runtime, bundle, compression, deadline, rate_limit=RateLimit(rate)
        )
        await filesystem.collect(capture, limits)
        await bundle.finish(predicate())


def archive(bundle: Path) -> Path:
    """Return where the bundle has its archive; `fetch --decompress` leaves it plain."""
    return bundle / container_file("web", "rootfs.tar")


def extract(tar: Path, folder: Path) -> None:
    """Let GNU tar make the tree again."""
    folder.mkdir()
    command = ["tar", "-C", str(folder), "-xpf", str(tar), "--xattrs", "--xattrs-include=*"]
    subprocess.run([*command, "--acls", "--numeric-owner"], check=True, capture_output=True)


class Described(NamedTuple):
    """Everything about a file that a capture has to keep."""

    mode: int
    owner: tuple[int, int]
    mtime: int
    size: int
    blocks: int
    """What it takes on the disk: holes stay holes."""
    device: int
    content: bytes
    target: bytes
    xattrs: dict[str, bytes]
    """Access lists among them."""


def described(folder: Path) -> dict[bytes, Described]:
    """Describe all of a tree, by path. Reading leaves the access times alone."""
    return {os.fsencode(path.relative_to(folder)): _described(path) for path in walked(folder)}


def walked(folder: Path) -> Iterator[Path]:
    """Yield a directory and all that is in it."""
    yield folder
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOATIME)
    try:
        with os.scandir(descriptor) as entries:
            inside = [
                (folder / entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries
            ]
    finally:
        os.close(descriptor)
    for path, is_directory in inside:
        yield from walked(path) if is_directory else [path]


def _described(path: Path) -> Described:
    said = path.lstat()
    regular, link = stat.S_ISREG(said.st_mode), stat.S_ISLNK(said.st_mode)
    return Described(
        mode=said.st_mode,
        owner=(said.st_uid, said.st_gid),
        mtime=said.st_mtime_ns,
        size=said.st_size if regular else 0,
        # ext4 keeps a block for attributes once it needed one, even if they are few by now.
        blocks=said.st_blocks if regular and not os.listxattr(path) else 0,
        device=said.st_rdev,
        content=content_of(path) if regular else b"",
        target=os.fsencode(path.readlink()) if link else b"",
        xattrs={
            name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False)
        },
    )


def content_of(path: Path) -> bytes:
    """Return what is in a regular file, whose access time stays as it is."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOATIME)) as file:
        return file.read()


def twins(folder: Path) -> set[frozenset[bytes]]:
    """Return which files and symbolic links are the same under several names."""
    names: dict[tuple[int, int], set[bytes]] = {}
    for path in walked(folder):
        said = path.lstat()
        if stat.S_ISREG(said.st_mode) or stat.S_ISLNK(said.st_mode):
            group = names.setdefault((said.st_dev, said.st_ino), set())
            group.add(os.fsencode(path.relative_to(folder)))
    return {frozenset(group) for group in names.values() if len(group) > 1}
