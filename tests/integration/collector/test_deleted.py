"""Files that only processes of a real container still hold are named in the manifest."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from collector.docker.runtime import DockerRuntime
from collector.local import CaptureOptions, capture_container
from forensics_core.api.order import ArtifactKind
from lab.docker import Engine
from tests.integration.collector.conftest import Bundle
from tests.integration.collector.mounting import gap

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="read from the node by root only")

READY = "; while ! [ -e /ready ]; do sleep 0.1; done"


async def collect(bundle: Bundle, container: str, *kinds: ArtifactKind) -> None:
    options = CaptureOptions([*kinds], name=bundle.folder.name, subpath="")
    to = str(bundle.folder.parent)
    result = await capture_container(f"docker://{container}", to=to, options=options)
    assert not result.partial


@pytest.mark.parametrize("kind", [ArtifactKind.PROCESSES, ArtifactKind.FILESYSTEM])
async def test_a_deleted_program_that_runs(
    kind: ArtifactKind, docker: Engine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    script = """
        mkdir /tmp/.x; cp /bin/busybox /tmp/.x/sleep; echo more >> /tmp/.x/sleep
        sha256sum /tmp/.x/sleep | cut -c-64
        /tmp/.x/sleep 1000 > /dev/null 2>&1 &
        /tmp/.x/sleep 1000 > /dev/null 2>&1 &
        while [ $(ls -l /proc/[0-9]*/exe | grep -c /tmp/.x/sleep) -lt 2 ]; do sleep 0.1; done
        rm /tmp/.x/sleep
    """
    async with docker.container(image) as container:
        digest = (await docker.exec(container, script)).strip()
        await collect(bundle, container, kind)
    found = gap(bundle, "deleted executable /tmp/.x/sleep")
    assert (found.path, found.sha256, found.requested) == ("/tmp/.x/sleep", digest, False)
    assert found.pid and found.size and found.size > 100_000
    assert "(sleep) runs it" in found.message and "1 other processes" in found.message
    if kind is ArtifactKind.PROCESSES:
        (name,) = (each.name for each in bundle.capture.containers)
        rows = bundle.json(f"containers/{name}/processes.json")["processes"]
        digests = {row["pid"]: row["exeSha256"] for row in rows}
        assert digests[found.pid] == digest and all(digests.values())


async def test_a_deleted_program_of_the_image(
    docker: Engine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    """The overlay still counts one name then: that in the image."""
    async with docker.container(image, ("/bin/busybox", "sleep", "1000")) as container:
        await docker.exec(container, "rm /bin/busybox")
        await collect(bundle, container, ArtifactKind.PROCESSES)
    found = gap(bundle, "deleted executable /bin/busybox")
    assert found.sha256 and found.size


async def test_a_deleted_file_that_is_open(
    docker: Engine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    command = """
        exec 7> /tmp/log 8> "/tmp/kept (deleted)" 9> /dev/shm/posix
        echo stolen >&7; echo shared >&9; rm /tmp/log /dev/shm/posix; touch /ready; sleep 1000
    """
    async with docker.container(image, ("/bin/sh", "-c", command)) as container:
        await docker.exec(container, f"true {READY}")
        await collect(bundle, container, ArtifactKind.PROCESSES)
    assert set(bundle.gaps()) == {"deleted file /tmp/log", "deleted file /dev/shm/posix"}
    found = gap(bundle, "deleted file /tmp/log")
    assert (found.path, found.size, found.sha256) == ("/tmp/log", 7, None)
    assert "1 other processes" in found.message  # the shell, and `sleep`, which inherited it


async def test_a_file_that_was_replaced_while_it_runs(
    docker: Engine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    script = """
        cp /bin/busybox /tmp/sleep; cp /bin/busybox /tmp/innocent
        sha256sum /tmp/sleep | cut -c-64
        /tmp/sleep 1000 > /dev/null 2>&1 &
        while ! ls -l /proc/[0-9]*/exe | grep -q /tmp/sleep; do sleep 0.1; done
        mv /tmp/innocent /tmp/sleep
    """
    async with docker.container(image) as container:
        digest = (await docker.exec(container, script)).strip()
        await collect(bundle, container, ArtifactKind.PROCESSES)
    assert gap(bundle, "deleted executable /tmp/sleep").sha256 == digest


async def test_a_container_without_such_files_has_no_gap(
    docker: Engine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image, ("/bin/busybox", "sleep", "1000")) as container:
        await collect(bundle, container, ArtifactKind.PROCESSES)
        program = Path(f"/proc/{await docker.pid(container)}/exe").read_bytes()
    assert bundle.gaps() == {}
    (name,) = (each.name for each in bundle.capture.containers)
    (row,) = bundle.json(f"containers/{name}/processes.json")["processes"]
    assert row["exeSha256"] == hashlib.sha256(program).hexdigest()
