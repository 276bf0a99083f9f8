"""The containers that are captured."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from lab.docker import Engine
from lab.images import GiB, MiB, bench_rootfs, busybox_rootfs

NOISE = 16 * MiB
"""Bytes of noise that a large file repeats, so far apart that no compressor here finds it."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in the container that the procedures are compared on."""

    files: int = 60_000
    small: int = 750 * MiB
    """Bytes in all the small files: half text, half noise."""
    big: int = GiB
    """Bytes of a single file of zeros."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self.small + self.big

    def with_files(self, files: int) -> Contents:
        """Return the same with another number of small files of the same mean size."""
        return Contents(files, self.small * files // self.files, self.big)

    def write(self, path: Path) -> None:
        """Make a root file system of them at `path`."""
        bench_rootfs(path, files=self.files, small=self.small, big=self.big)


QUICK = Contents(files=200, small=2 * MiB, big=MiB)


@contextmanager
def busy_container(engine: Engine, contents: Contents, folder: Path) -> Iterator[str]:
    """Run a container with these contents for the block; `folder` is needed while it is made."""
    with _running(engine, contents.write, folder) as container:
        yield container


@contextmanager
def large_container(engine: Engine, size: int, folder: Path) -> Iterator[str]:
    """Run a container with an incompressible file of `size` bytes, without holes, for the block."""
    with _running(engine, busybox_rootfs, folder) as container:
        block = min(size, NOISE)
        script = f"head -c {block} /dev/urandom > /noise; i=0; "
        script += f"while [ $i -lt {size // block} ]; do cat /noise; i=$((i+1)); done > /large; "
        script += "rm /noise"
        anyio.run(engine.exec, container, script)
        yield container


def room(engine: Engine) -> int:
    """Return how many bytes are free where the engine keeps its containers."""

    async def folder() -> str:
        async with engine.client() as client:
            return str((await client.system.info())["DockerRootDir"])

    return shutil.disk_usage(anyio.run(folder)).free


@contextmanager
def _running(engine: Engine, write: Callable[[Path], object], folder: Path) -> Iterator[str]:
    rootfs = folder / "rootfs"
    try:
        write(rootfs)
        image = anyio.run(engine.import_image, rootfs)
    finally:
        shutil.rmtree(rootfs, ignore_errors=True)
    container = anyio.run(engine.run, image)
    try:
        yield container
    finally:
        anyio.run(engine.remove, container)
