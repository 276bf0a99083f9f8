"""The example scripts do what they say."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
import pytest

from lab.docker import Engine
from lab.seaweed import Identity, S3Server

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.skipif(os.geteuid() != 0, reason="read from the node by root only")
async def test_a_container_is_captured_in_ten_lines(
    docker: Engine, image: str, s3: S3Server, bucket: str
) -> None:
    script = EXAMPLES / "01_capture_container.py"
    async with docker.container(image) as container:
        run = await anyio.run_process(
            [sys.executable, str(script), f"docker://{container}", f"s3://{bucket}"],
            env={**os.environ, **docker.env, **s3.env(Identity.COLLECTOR)},
        )
    location, digest = run.stdout.decode().split()
    assert location.startswith(f"s3://{bucket}/forensics/") and digest.startswith("sha256:")
    assert len([line for line in script.read_text().splitlines()[1:] if line.strip()]) <= 10
