"""The containers that are captured."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import anyio

from lab.containerd import Containerd
from lab.docker import DockerEngine
from lab.engine import FOREVER
from lab.images import GiB, MiB, bench_rootfs, busybox_rootfs
from lab.packages import debian_rootfs

BLOCK = 16 * MiB
"""Bytes that a large file repeats, so far apart that no compressor here finds them again."""
STRIDE = 64 * MiB
"""Bytes of a sparse file, of which the first MiB is data and the rest a hole."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a container, beside a small system. Sizes are in bytes."""

    files: int = 0
    small: int = 0
    """In all the small files: three parts text, one part noise."""
    zeros: int = 0
    """In a single file of zeros, without holes."""
    noise: int = 0
    """In large files that cannot be compressed."""
    text: int = 0
    """In large files of a log's lines."""
    large: int = 1
    """How many files of noise, and of text, there are."""
    sparse: int = 0
    """Of a single file, most of it holes: what `ls` shows, not what it takes on the disk."""
    packages: tuple[str, ...] = ()
    """Of Debian, with all that they need, in place of a small system."""

    @property
    def size(self) -> int:
        """Bytes of all files, holes included."""
        return self.small + self.zeros + self.noise + self.text + self.sparse

    @property
    def words(self) -> str:
        """What there is, to go on from 'a container with'."""
        large = "one large file" if self.large == 1 else f"{self.large} large files"
        holes = f"one large file with a MiB of noise every {STRIDE // MiB} and holes between"
        parts = {
            f"{self.files:,} small files": self.small,
            "one large file of zeros": self.zeros,
            f"{large} of noise": self.noise,
            f"{large} of text": self.text,
            holes: self.sparse,
        }
        if self.packages:
            return f"Debian's packages {', '.join(self.packages)}, and all that they need"
        named = " and ".join(part for part, size in parts.items() if size) or "a small system"
        size = f"{self.size / 1e9:.2f} GB" if self.size > 1e8 else f"{self.size / 1e6:.1f} MB"
        return f"{named}, {size}"

    def scaled(self, share: float) -> Contents:
        """Return the same in small: `share` of the small files and of all bytes, no packages."""
        names = [field.name for field in fields(self) if field.name not in {"large", "packages"}]
        sizes: dict[str, Any] = {name: int(getattr(self, name) * share) for name in names}
        return replace(self, packages=(), **sizes)

    def write(self, path: Path) -> None:
        """Make a root file system at `path` of all that an image can hold."""
        if self.files:
            bench_rootfs(path, files=self.files, small=self.small, big=self.zeros)
        elif self.packages:
            debian_rootfs(path, self.packages)
        else:
            busybox_rootfs(path)
        (path / "blocks").mkdir()
        (path / "blocks" / "noise").write_bytes(os.urandom(BLOCK if self.noise else MiB))
        if self.text:
            (path / "blocks" / "text").write_bytes(_log())

    def script(self) -> str:
        """Return what is to be run in the container, to make the rest from the blocks there."""
        lines = [_REPEAT, "mkdir /large"]
        for kind, size in (("noise", self.noise), ("text", self.text)):
            names = range(self.large if size else 0)
            lines += [
                f"repeat /blocks/{kind} {size // self.large} /large/{kind}-{n}" for n in names
            ]
        for start in range(0, self.sparse, STRIDE):
            place = f"bs={MiB} seek={start // MiB} conv=notrunc"
            lines.append(f"dd if=/blocks/noise of=/large/sparse count=1 {place} 2>/dev/null")
        if self.sparse:
            lines.append(f"truncate -s {self.sparse} /large/sparse")
        return "\n".join([*lines, "rm -r /blocks"])


_REPEAT = """repeat() {
    i=0; while [ $i -lt "$2" ]; do cat "$1"; i=$((i + $(stat -c %s "$1"))); done |
        head -c "$2" > "$3"
}"""
"""repeat FILE SIZE TO"""

SUBJECTS = {
    "mixed": Contents(files=60_000, small=750 * MiB, zeros=GiB),
    "small": Contents(files=100_000, small=200 * MiB),
    "noise": Contents(noise=GiB, large=2),
    "text": Contents(text=GiB, large=2),
    "sparse": Contents(sparse=2 * GiB),
    "real": Contents(
        packages=(
            "openjdk-17-jdk-headless",
            "python3-pandas",
            "python3-matplotlib",
            "nodejs",
            "npm",
            "golang-go",
            "postgresql",
            "nginx",
            "git",
            "libboost-dev",
            "perl",
            "clang",
            "gcc",
        )
    ),
}
"""What the procedures are compared on, by the names for `--subject`."""
SMALL_SCALE = 1 / 300
"""For `--quick`."""
QUICK = SUBJECTS["mixed"].scaled(SMALL_SCALE)


@contextmanager
def running_container(
    engine: DockerEngine | Containerd,
    contents: Contents,
    folder: Path,
    command: Sequence[str] = FOREVER,
) -> Iterator[str]:
    """Run a container with these contents for the block; `folder` is needed while it is made."""
    rootfs = folder / "rootfs"
    try:
        contents.write(rootfs)
        image = anyio.run(engine.import_image, rootfs)
    finally:
        shutil.rmtree(rootfs, ignore_errors=True)
    container = anyio.run(engine.run, image, command)
    try:
        anyio.run(engine.exec, container, contents.script())
        yield container
    finally:
        anyio.run(engine.remove, container)


def room(engine: DockerEngine) -> int:
    """Return how many bytes are free where the engine keeps its containers."""

    async def folder() -> str:
        async with engine.client() as client:
            return str((await client.system.info())["DockerRootDir"])

    return shutil.disk_usage(anyio.run(folder)).free


def _log() -> bytes:
    """Return a block of a log's lines; always the same."""
    chance = random.Random(7)  # noqa: S311  # reproducible, not secret
    paths = [f"/{chance.choice('abcdef')}/{chance.randrange(10**4)}" for _ in range(500)]
    lines: list[str] = []
    for second in range(BLOCK // 80):
        time = (
            f"2026-01-{second // 86400 + 1:02d}T{second // 3600 % 24:02d}:{second // 60 % 60:02d}"
        )
        took = chance.randrange(10**5)
        lines.append(
            f"{time}:{second % 60:02d}Z web GET {chance.choice(paths)} 200 took {took} us\n"
        )
    return "".join(lines).encode()
