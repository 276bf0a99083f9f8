"""What tests of mounts ask of a bundle."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zstandard
from anyio import to_thread

from forensics_core.bundle.manifest import NotCaptured
from forensics_core.bundles import open_bundle
from tests.integration.collector.conftest import Bundle

FORENSICS = str(Path(sys.executable).with_name("forensics"))


def gap(bundle: Bundle, what: str) -> NotCaptured:
    """Return the one gap of that name."""
    (found,) = (each for each in bundle.capture.not_captured if each.what == what)
    return found


def mounts_archive(bundle: Bundle, container: str) -> tarfile.TarFile:
    """Open the archive of a container's mounts."""
    packed = bundle.folder / "containers" / container / "mounts.tar.zst"
    reader = zstandard.ZstdDecompressor().stream_reader(
        packed.read_bytes(), read_across_frames=True
    )
    return tarfile.open(fileobj=io.BytesIO(reader.read()))


def table(bundle: Bundle, container: str) -> dict[str, dict[str, Any]]:
    """Return the last row of each mount point in `mounts.json`."""
    rows = bundle.json(f"containers/{container}/mounts.json")["mounts"]
    return {row["path"]: row for row in rows}


async def text_of(bundle: Bundle, container: str, path: str) -> str:
    """Return what a file of a captured container holds, read by the library, as text."""
    async with open_bundle(str(bundle.folder)) as opened:
        return (await opened.container(container).read(path)).decode()


async def forensics(
    *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return await run(FORENSICS, *arguments, env=env)


async def run(
    *command: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program."""
    return await to_thread.run_sync(
        lambda: subprocess.run(
            command,
            capture_output=True,
            text=True,
            env={**os.environ, **(env or {})},
            check=False,
        )
    )
