"""Containers to capture, and what reads the captures back."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zstandard

from collector.docker.runtime import DockerRuntime, open_docker
from collector.gaps.inherent import KERNEL, MEMORY
from forensics_core.bundle.layout import NODE
from forensics_core.bundle.manifest import Capture, Statement
from lab.docker import DockerEngine


@pytest.fixture
async def runtime(
    docker: DockerEngine, use_env: Callable[[Mapping[str, str]], None]
) -> AsyncIterator[DockerRuntime]:
    """The engine, open; `DOCKER_HOST` leads to it as well."""
    use_env(docker.env)
    async with open_docker() as engine:
        yield engine


@dataclass(frozen=True)
class Bundle:
    """A bundle in a folder."""

    folder: Path

    @property
    def capture(self) -> Capture:
        return Statement.from_bytes((self.folder / "manifest.json").read_bytes()).predicate

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_bytes())

    def tar(self, container: str) -> tarfile.TarFile:
        packed = self.folder / "containers" / container / "rootfs.tar.zst"
        reader = zstandard.ZstdDecompressor().stream_reader(
            packed.read_bytes(), read_across_frames=True
        )
        return tarfile.open(fileobj=io.BytesIO(reader.read()))

    def names(self) -> set[str]:
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)) for path in files}

    def gaps(self) -> dict[str, str]:
        """Return what is missing, and why, without what every capture lacks."""
        found = {gap.what: gap.reason for gap in self.capture.not_captured}
        own = {MEMORY, KERNEL}
        # What a kernel or a runtime does not tell of the node is not the container's matter.
        return {
            what: why
            for what, why in found.items()
            if what not in own and not what.startswith(NODE)
        }


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle to be: its folder does not exist yet."""
    return Bundle(tmp_path / "evidence" / "case")
