"""Which directory is a container's root is not for the container to say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from collector.docker.runtime import DockerRuntime
from collector.local import CaptureOptions, capture_container
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import Flag
from lab.docker import DockerEngine, running_own_engine
from lab.images import busybox_rootfs
from tests.integration.collector.conftest import Bundle
from tests.integration.collector.mounting import gap

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="read from the node by root only")

DECOY = """
    mkdir /decoy /evil; cp -a /bin /etc /decoy; touch /decoy/mark
    echo loot > /evil/loot; mount --bind /decoy /
"""
INTO_IT = ("/bin/sh", "-c", f"{DECOY.strip()}; cd -P /..; exec chroot . /bin/sleep 1000")
"""Goes into the decoy itself."""

PIVOT = """
    mkdir /n /evil; echo loot > /evil/loot; mount -t tmpfs none /n; cp -a /bin /n; cd /n; mkdir old
    pivot_root . old || exit 1
    touch mark; exec chroot . /bin/sleep 1000
"""


@pytest.fixture(scope="module")
def vfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DockerEngine, str]]:
    """An engine without overlays, and an image on it."""
    rootfs = busybox_rootfs(tmp_path_factory.mktemp("image") / "rootfs")
    with running_own_engine("--storage-driver=vfs") as engine:
        yield engine, anyio.run(engine.import_image, rootfs)


async def collect(bundle: Bundle, engine: DockerEngine, container: str) -> str:
    """Capture the file system; return the container's name in the bundle."""
    options = CaptureOptions(
        [ArtifactKind.FILESYSTEM], name=bundle.folder.name, subpath="", layer_seconds=60
    )
    await capture_container(f"docker://{container}", to=str(bundle.folder.parent), options=options)
    return bundle.capture.containers[0].name


def rootfs_flags(bundle: Bundle) -> tuple[str, tuple[Flag, ...]]:
    (found,) = (each for each in bundle.capture.artifacts if "rootfs.tar" in each.name)
    return found.method, found.flags


async def wait_for_mark(engine: DockerEngine, container: str) -> None:
    """Wait until there is a file `mark` in the root of the container's first process."""
    place = Path(f"/proc/{await engine.pid(container)}/root/mark")
    with anyio.fail_after(60):
        while not await to_thread.run_sync(place.exists):
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("inside", [False, True])
async def test_a_decoy_mounted_over_the_root_of_a_whole_copy(
    inside: bool, vfs: tuple[DockerEngine, str], bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, image = vfs
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    options = {"capabilities": ["SYS_ADMIN"]}
    started = engine.container(image, INTO_IT, **options) if inside else None
    async with started or engine.container(image, **options) as container:
        if inside:
            await wait_for_mark(engine, container)
        else:
            await engine.exec(container, DECOY)
        name = await collect(bundle, engine, container)
    assert rootfs_flags(bundle) == ("tree", ())
    assert {"./evil/loot", "./decoy/bin/sh"} <= set(bundle.tar(name).getnames())
    if inside:
        assert gap(bundle, "root of processes").reason == "Replaced"
    else:
        assert gap(bundle, "mount /").reason == "Stacked"


async def test_a_whole_copy_of_an_ended_container_is_read_from_the_node(
    vfs: tuple[DockerEngine, str], bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, image = vfs
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    container = await engine.run(image, ("/bin/sh", "-c", "echo 1 > /last"))
    await engine.wait(container)
    name = await collect(bundle, engine, container)
    await engine.remove(container)
    assert rootfs_flags(bundle) == ("tree", ()) and bundle.gaps() == {
        "image layers": "NotSupported"
    }
    assert "./last" in bundle.tar(name).getnames()


async def test_a_root_that_only_the_container_shows_is_not_certain(
    vfs: tuple[DockerEngine, str], bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is with a storage driver that this release does not know, and where a note is gone."""
    engine, image = vfs
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    async with engine.container(image) as container:
        own = Path((await engine.inspect(container))["HostsPath"]).parents[2]
        known = own / f"image/vfs/layerdb/mounts/{container}/mount-id"
        known.rename(known.with_name("hidden"))
        try:
            await collect(bundle, engine, container)
        finally:
            known.with_name("hidden").rename(known)
    assert rootfs_flags(bundle) == ("tree", (Flag.REDUCED_FIDELITY,))
    assert gap(bundle, "root of the file system").reason == "NotCertain"


@pytest.mark.parametrize(
    "script",
    [
        INTO_IT[2],
        PIVOT,
    ],
    ids=["bind", "pivot"],
)
async def test_an_overlay_is_read_whatever_its_first_process_has_as_root(
    script: str, docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    # Docker's own filter lets nobody pivot.
    security = {"CapAdd": ["SYS_ADMIN"], "SecurityOpt": ["seccomp=unconfined"]}
    options = {"HostConfig": {"NetworkMode": "none", **security}}
    async with docker.container(image, ("/bin/sh", "-c", script), **options) as container:
        await wait_for_mark(docker, container)
        name = await collect(bundle, docker, container)
    assert rootfs_flags(bundle) == ("tree", ())
    assert "./evil/loot" in bundle.tar(name).getnames()
    assert gap(bundle, "root of processes").reason == "Replaced"


async def test_a_process_in_a_directory_of_the_container_is_no_gap(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    script = (
        "mkdir /jail; cp -a /bin /jail; touch /jail/mark; mount -t tmpfs none /srv;"
        "exec chroot /jail sleep 1000"
    )
    options = {"capabilities": ["SYS_ADMIN"]}
    async with docker.container(image, ("/bin/sh", "-c", script), **options) as container:
        await wait_for_mark(docker, container)
        name = await collect(bundle, docker, container)
    assert "./jail/bin/sh" in bundle.tar(name).getnames()
    assert set(bundle.gaps()) == {"mounts, outside of a root"}


def test_the_lab_names_a_driver(vfs: tuple[DockerEngine, str]) -> None:
    assert vfs[0].private and Path(vfs[0].host.removeprefix("unix://")).is_socket()
