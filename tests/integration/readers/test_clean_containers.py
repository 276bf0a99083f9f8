"""Where nobody broke in no rule finds anything. All ten kinds: `python -m bench.report`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from collector.local import CaptureOptions, capture_container
from forensics_core.bundle.reader import open_bundle
from forensics_core.readers.findings.find import find
from lab.clean import CLEAN, clean_container
from lab.docker import DockerEngine

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="processes are read by root only"),
    pytest.mark.timeout(600),  # packages are downloaded
]


@pytest.mark.parametrize("kind", ["busybox", "debian", "python"])
async def test_a_clean_container_has_no_findings(
    docker: DockerEngine, use_env: Callable[[Mapping[str, str]], None], tmp_path: Path, kind: str
) -> None:
    use_env(docker.env)
    async with clean_container(docker, CLEAN[kind], tmp_path) as container:
        options = CaptureOptions(name="bundle", subpath="")
        await capture_container(f"docker://{container}", to=str(tmp_path), options=options)
    async with open_bundle(str(tmp_path / "bundle")) as bundle:
        found = await find(bundle)
    assert [(each.rule, each.subject, each.detail) for each in found.findings] == []
    assert found.not_looked_at == []
