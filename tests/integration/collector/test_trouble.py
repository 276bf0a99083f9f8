"""What fails at the source is recorded, and the rest goes on."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import anyio
import pytest
from aiohttp import web
from anyio import to_thread

from collector.attempt import Attempt
from collector.capture import capture
from collector.docker.runtime import DockerRuntime, open_docker
from collector.files import mounts
from collector.files.changes import OpenLayers
from collector.files.gnu_tar import read_tree
from collector.files.overlay import OverlayDirectories
from collector.local import ARTIFACTS
from collector.runtimes.runtime import ContainerInfo, RuntimeChange, Unavailable
from forensics_core.api.order import ArtifactKind, ContainerTarget, WorkOrder
from forensics_core.bundle.writer import BundleWriter
from forensics_core.errors import ContainerGone, ObjectTooLarge, RuntimeUnavailable, SourceError
from forensics_core.storage.local import LocalStorage
from forensics_core.storage.objects import ObjectWriter
from lab.docker import DockerEngine
from lab.images import busybox_rootfs
from tests.integration.collector.conftest import Bundle
from tests.integration.collector.proxy import proxy

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
SYSFS = "/sys/bus/cpu"
"""A folder with a file that nobody may read, root included: `drivers_probe`."""


def order_for(container: str, *artifacts: ArtifactKind) -> WorkOrder:
    return WorkOrder(
        destination="file:///unused",
        bundle="case",
        uid=uuid4(),
        targets=(ContainerTarget(name="web", container_id=f"docker://{container}"),),
        artifacts=artifacts or ARTIFACTS,
        layer_seconds=60,
    )


@root_only
async def test_an_image_that_was_removed(
    docker: DockerEngine, runtime: DockerRuntime, bundle: Bundle, tmp_path: Path
) -> None:
    rootfs = await to_thread.run_sync(busybox_rootfs, tmp_path / "rootfs")
    image = await docker.import_image(rootfs)
    container = await docker.create(image)
    async with docker.client() as client:
        await client.images.delete(image, force=True)
    order = order_for(container, ArtifactKind.INSPECT)
    result = await capture(order, runtime, LocalStorage(bundle.folder))
    await docker.remove(container)
    assert bundle.gaps() == {"image.json": "Gone"} and not result.partial


class Acting(LocalStorage):
    """A folder that does something when an object begins."""

    def __init__(self, path: Path, name: str, act: Callable[[], None]) -> None:
        super().__init__(path)
        self._name, self._act = name, act

    def create(
        self, name: str, *, content_type: str = "application/octet-stream"
    ) -> AbstractAsyncContextManager[ObjectWriter]:
        if name.endswith(self._name):
            self._act()
        return super().create(name, content_type=content_type)


async def test_an_engine_that_dies_in_the_middle(
    docker: DockerEngine, image: str, bundle: Bundle
) -> None:
    kinds = (ArtifactKind.DIFF, ArtifactKind.LOGS, ArtifactKind.INSPECT)
    async with (
        docker.container(image) as container,
        proxy(docker) as way,
        open_docker(way.host) as runtime,
    ):
        destination = Acting(bundle.folder, "stdout.log", way.cut)
        result = await capture(order_for(container, *kinds), runtime, destination)
    assert result.partial
    assert bundle.gaps()["logs"] in {"SourceFailed", "RuntimeUnavailable"}
    assert bundle.gaps()["inspect"] == "RuntimeUnavailable"
    assert bundle.names() >= {"containers/web/diff.json", "containers/web/inspect.json"}


async def test_what_does_not_fit_one_object_is_left_out_and_the_rest_goes_on(
    docker: DockerEngine, runtime: DockerRuntime, image: str, bundle: Bundle
) -> None:
    def refuse() -> None:
        raise ObjectTooLarge("diff.json is longer than 1 MiB", hint="Capture less")

    async with docker.container(image) as container:
        order = order_for(container, ArtifactKind.DIFF, ArtifactKind.INSPECT)
        result = await capture(order, runtime, Acting(bundle.folder, "diff.json", refuse))
    assert result.partial and bundle.gaps() == {"diff": "TooLarge"}
    assert "containers/web/inspect.json" in bundle.names()


async def test_an_engine_that_hangs_is_left_at_the_deadline(bundle: Bundle, tmp_path: Path) -> None:
    said = {
        "Id": "1",
        "Name": "/web",
        "Image": "sha256:1",
        "Config": {},
        "State": {"Status": "exited"},
    }

    released = anyio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/changes"):
            await released.wait()
        return web.json_response(said)

    app = web.Application()
    app.router.add_get("/{rest:.*}", answer)
    server = web.AppRunner(app)
    await server.setup()
    await web.UnixSite(server, str(tmp_path / "d.sock")).start()
    async with open_docker(f"unix://{tmp_path}/d.sock") as runtime:
        bundled = BundleWriter(LocalStorage(bundle.folder))
        order = order_for("1", ArtifactKind.DIFF)
        attempt = Attempt(order, runtime, bundled)
        attempt.clock -= order.active_deadline_seconds - 30.3
        async with attempt.opened():
            await attempt.capture_all()
    released.set()
    await server.cleanup()
    told = [(gap.what, gap.reason) for gap in bundled.not_captured if gap.requested]
    assert told == [("diff", "Deadline")]


class Elsewhere(DockerRuntime):
    """The engine, but for the root of its containers, which lies in `SYSFS`."""

    @asynccontextmanager
    async def root(self, container: ContainerInfo) -> AsyncIterator[int]:
        descriptor = os.open(SYSFS, os.O_RDONLY | os.O_DIRECTORY)
        yield descriptor
        os.close(descriptor)


@root_only
async def test_members_that_cannot_be_read_are_named(
    docker: DockerEngine, image: str, bundle: Bundle
) -> None:
    async with docker.container(image) as container, docker.client() as client:
        runtime = Elsewhere(client, docker.host)
        order = order_for(container, ArtifactKind.FILESYSTEM)
        result = await capture(order, runtime, LocalStorage(bundle.folder))
    assert result.partial
    gap, replaced = sorted(bundle.capture.not_captured, key=lambda gap: gap.what)
    assert gap.reason == "Unreadable" and "./drivers_probe" in gap.message
    assert replaced.what == "root of processes" and not replaced.requested


class Failing(DockerRuntime):
    """The engine, but its layers are out of reach, and its list of changes fails with `error`."""

    error: Exception | None = None

    @asynccontextmanager
    async def layers(self, container: ContainerInfo) -> AsyncIterator[OpenLayers]:
        if container.key:
            raise Unavailable("Not here", reason="NotSupported")
        async with super().layers(container) as layers:
            yield layers

    @asynccontextmanager
    async def changes(
        self, container: ContainerInfo
    ) -> AsyncIterator[AsyncIterator[RuntimeChange]]:
        async with super().changes(container) as changes:
            if self.error:
                raise self.error
            yield changes

    async def process(self, container: ContainerInfo) -> int:
        return 2**22 + 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unavailable("x", reason="NotSupported"), "NotSupported"),
        (ContainerGone("x"), "Gone"),
        (RuntimeUnavailable("x"), "RuntimeUnavailable"),
        (SourceError("x"), "SourceFailed"),
        (OSError("x"), "Unreadable"),
        (IndexError("x"), "Unexpected"),
        (SourceError("surrogate \udcff"), "SourceFailed"),
    ],
)
async def test_each_failure_has_its_reason_in_the_manifest(
    error: Exception, reason: str, docker: DockerEngine, image: str, bundle: Bundle
) -> None:
    async with docker.container(image) as container, docker.client() as client:
        runtime = Failing(client, docker.host)
        runtime.error = error
        order = order_for(container, ArtifactKind.DIFF, ArtifactKind.INSPECT)
        result = await capture(order, runtime, LocalStorage(bundle.folder))
    assert result.partial and bundle.gaps() == {"diff": reason}


async def test_a_container_that_ends_before_its_processes_are_read(
    docker: DockerEngine, image: str, bundle: Bundle
) -> None:
    async with docker.container(image) as container, docker.client() as client:
        order = order_for(container, ArtifactKind.PROCESSES)
        destination = LocalStorage(bundle.folder)
        result = await capture(order, Failing(client, docker.host), destination)
    assert not result.partial and bundle.gaps() == {"processes": "NotRunning"}


@root_only
async def test_layers_that_cannot_be_merged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="/no/such/layer"):
        await to_thread.run_sync(
            mounts.mount_layers, OverlayDirectories(bytes(tmp_path), (b"/no/such/layer",))
        )


async def test_a_directory_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    with pytest.raises(SourceError, match="tar could not read the file system"):
        async with read_tree(descriptor) as reading:
            [block async for block in reading.blocks]
    os.close(descriptor)
