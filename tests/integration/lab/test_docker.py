from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.docker import LABEL, DockerEngine
from lab.dockerd import answers
from lab.images import bench_rootfs
from lab.process import LabError
from lab.tamper import XATTR, XATTR_VALUE, tamper


async def test_a_container_runs_without_a_network(docker: DockerEngine, image: str) -> None:
    async with docker.container(image) as container:
        links = await docker.exec(container, "ls /sys/class/net")
    assert links.split() == ["lo"]


async def test_a_failing_script_is_an_error(docker: DockerEngine, image: str) -> None:
    async with docker.container(image) as container:
        with pytest.raises(LabError, match="ended with 3: oops"):
            await docker.exec(container, "echo oops; exit 3")


async def test_no_script_runs_outside_its_container(docker: DockerEngine, image: str) -> None:
    async with docker.container(image) as container:
        await docker.exec(container, "echo elsewhere > /etc/hostname")
        with pytest.raises(LabError, match="not in the container"):
            await docker.exec(container, "echo harm done")


async def test_containers_can_be_paused_stopped_and_never_started(
    docker: DockerEngine, image: str
) -> None:
    created = await docker.create(image)
    async with docker.container(image) as container:
        await docker.pause(container)
        assert (await docker.inspect(container))["State"]["Status"] == "paused"
        await docker.unpause(container)
        await docker.stop(container)
        assert (await docker.inspect(container))["State"]["Status"] == "exited"
    assert (await docker.inspect(created))["State"]["Status"] == "created"
    await docker.remove(created)
    await docker.remove(created)


async def test_cleaning_up_removes_what_was_made_here_and_nothing_else(
    docker: DockerEngine, image: str, tmp_path: Path
) -> None:
    other = DockerEngine(docker.host, "somebody-else", private=False)
    rootfs = bench_rootfs(tmp_path / "rootfs", files=3, small=3000, big=1000)
    container = await other.create(await other.import_image(rootfs))
    kept = await docker.create(image)
    await other.clean_up()
    async with docker.client() as client:
        left = {each.id for each in await client.containers.list(all=1)}
        images = await client.images.list(filters={"label": [f"{LABEL}=somebody-else"]})
    assert kept in left
    assert container not in left
    assert images == []
    await docker.remove(kept)


async def test_the_intruder_does_what_the_list_says(docker: DockerEngine, image: str) -> None:
    async with docker.container(image) as container:
        done = await tamper(docker, container)
        root = f"/proc/{await docker.pid(container)}/root".encode()
        assert [
            path for path in done.added | done.changed if not os.path.lexists(root + path)
        ] == []
        assert [path for path in done.deleted if os.path.lexists(root + path)] == []
        if os.geteuid() == 0:
            assert os.getxattr(root + b"/tmp/.x/hardlink", XATTR) == XATTR_VALUE


@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1", "nonsense"])
def test_an_engine_that_is_not_there_does_not_answer(host: str) -> None:
    assert not answers(host)


def test_the_measured_image_is_the_same_every_time(tmp_path: Path) -> None:
    one, two = (
        bench_rootfs(tmp_path / name, files=250, small=500_000, big=2_000_000) for name in "ab"
    )
    files = sorted(path.relative_to(one) for path in (one / "data").rglob("*") if path.is_file())
    assert len(files) == 251
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in files)
    assert 400_000 < sum((one / name).stat().st_size for name in files) - 2_000_000 <= 500_000
