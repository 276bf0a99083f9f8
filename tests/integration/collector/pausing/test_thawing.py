"""Containers that a killed capture left standing still go on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from lab.docker import DockerEngine
from lab.engine import FOREVER

FORENSICS = str(Path(sys.executable).with_name("forensics"))
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="an engine of ours runs as root")


async def thaw(docker: DockerEngine, *references: str) -> subprocess.CompletedProcess[bytes]:
    command = [FORENSICS, "thaw", *references]
    return await anyio.run_process(command, env=os.environ | docker.env, check=False)


async def state(docker: DockerEngine, container: str) -> str:
    return str((await docker.inspect(container))["State"]["Status"])


async def test_what_is_paused_goes_on_and_the_rest_is_left_alone(
    docker: DockerEngine, image: str
) -> None:
    async with docker.container(image, FOREVER) as frozen, docker.container(image) as running:
        await docker.pause(frozen)
        run = await thaw(docker, f"docker://{frozen}", f"docker://{running}", "docker://gone")
        assert run.returncode == 0, run.stderr
        assert b"3 containers looked at" in run.stdout
        assert await state(docker, frozen) == await state(docker, running) == "running"


async def test_an_engine_that_is_not_there_is_one_clear_line(docker: DockerEngine) -> None:
    nowhere = {"DOCKER_HOST": "unix:///nowhere.sock"}
    command = [FORENSICS, "thaw", "docker://x"]
    run = await anyio.run_process(command, env=os.environ | nowhere, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith(b"Error: ")
    assert run.stderr.count(b"\n") == 1
