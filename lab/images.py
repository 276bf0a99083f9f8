"""Root file systems to make images from, without a registry: one tiny, one to measure with."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

from lab.process import LabError

MiB = 1024 * 1024
GiB = 1024 * MiB
BUILT = 1_704_067_200
"""When the image's files were last modified: 2024-01-01T00:00:00Z, in seconds since 1970."""

APP_CONFIG = b"listen = 0.0.0.0:8080\nadmin = disabled\nupstream = 10.0.0.7\n"

_TEXTS: dict[str, bytes] = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/srv/app:/bin/sh\n",
    "etc/group": b"root:x:0:\napp:x:1000:\n",
    "etc/shadow": b"root:*:19700:0:99999:7:::\napp:!:19700:0:99999:7:::\n",
    "etc/app.conf": APP_CONFIG,
    "srv/app/server.sh": b"#!/bin/sh\nexec sleep infinity\n",
    "srv/app/plugins/auth.sh": b"#!/bin/sh\nexit 1\n",
    "srv/app/plugins/stats.sh": b"#!/bin/sh\nexit 0\n",
    "srv/www/index.html": b"<!doctype html><title>Shop</title>\n",
    "var/log/auth.log": b"Jan  1 00:00:01 web sshd[7]: Accepted publickey for app\n",
    "var/log/app.log": b"started\n",
}
_MODES = {"etc/shadow": 0o600, "srv/app/server.sh": 0o755, "tmp": 0o1777, "root": 0o700}
_FOLDERS = ("bin", "dev", "proc", "sys", "tmp", "root", "run", "usr/bin", "var/spool")


def busybox_rootfs(path: Path) -> Path:
    """Make a small system at `path`, with every applet of Debian's static BusyBox. Returns it."""
    for folder in _FOLDERS:
        (path / folder).mkdir(parents=True)
    _install_busybox(path / "bin")
    for name, content in _TEXTS.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    for name, mode in _MODES.items():
        (path / name).chmod(mode)
    _age(path)
    return path


def _install_busybox(folder: Path) -> None:
    binary = shutil.which("busybox", path=f"{os.environ.get('PATH', '')}:/bin:/usr/bin")
    if not binary:
        raise LabError("BusyBox is not installed", hint="Install the package busybox-static")
    shutil.copy(binary, folder / "busybox")
    listing = subprocess.run([binary, "--list"], check=True, capture_output=True, text=True)
    for applet in set(listing.stdout.split()) - {"busybox"}:
        (folder / applet).symlink_to("busybox")


def _age(path: Path) -> None:
    """Give everything the same old time, so that an image is the same whenever it is built."""
    for folder, _, files in os.walk(path, topdown=False):
        for name in files:
            os.utime(Path(folder) / name, (BUILT, BUILT), follow_symlinks=False)
        os.utime(folder, (BUILT, BUILT))


def bench_rootfs(
    path: Path, *, files: int = 60_000, small: int = 750 * MiB, big: int = GiB
) -> Path:
    """Make a system of `files` small files, of `small` bytes together, and a file of `big` zeros.

    The small ones are text and noise, three to one, of widely differing sizes; the same arguments
    make the same bytes. Returns the path.
    """
    busybox_rootfs(path)
    noise = random.Random(42)  # noqa: S311  # reproducible, not secret
    pool = memoryview(_pool(noise))
    sizes = _sizes(noise, files, small)
    for number, size in enumerate(sizes):
        folder = path / "data" / f"{number // 1000:03d}" / f"{number // 100 % 10}"
        if number % 100 == 0:
            folder.mkdir(parents=True)
        start = noise.randrange(len(pool) - size)
        (folder / f"{number:05d}.dat").write_bytes(pool[start : start + size])
    _zeros(path / "data" / "zeros.bin", big)
    return path


def _pool(noise: random.Random) -> bytes:
    """Return 32 MiB to cut files from: 192 KiB of text, then 64 KiB of noise, and so on."""
    words = [noise.randbytes(noise.randrange(1, 6)).hex() for _ in range(4096)]
    pieces: list[bytes] = []
    for _ in range(128):
        text = " ".join(noise.choices(words, k=36_000)).encode()
        pieces += [text[: 192 * 1024], noise.randbytes(64 * 1024)]
    return b"".join(pieces)


def _sizes(noise: random.Random, files: int, total: int) -> list[int]:
    """Return log-normal sizes in bytes, as file systems have them, that add up to about `total`."""
    raw = [noise.lognormvariate(0, 1.5) for _ in range(files)]
    scale = total / sum(raw)
    return [min(int(size * scale), 8 * MiB) for size in raw]


def _zeros(path: Path, size: int) -> None:
    """Write `size` zero bytes that take their space on the disk."""
    block = bytes(MiB)
    with path.open("wb") as file:
        for start in range(0, size, MiB):
            file.write(block[: min(MiB, size - start)])
