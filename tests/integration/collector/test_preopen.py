"""What is open when a capture begins comes home, whatever is removed while others are read."""

from __future__ import annotations

import io
import os
import resource
import shutil
import stat
import tarfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import zstandard
from anyio import to_thread

from collector import preopen
from collector.attempt import Attempt
from collector.docker.runtime import DockerRuntime
from collector.preopen import Preopened, preopening
from collector.runtimes.opening import open_runtime
from collector.runtimes.runtime import ContainerInfo, Runtime, Unavailable
from forensics_core.api.order import ArtifactKind, ContainerTarget, WorkOrder
from forensics_core.bundle.content import find_file, read_file
from forensics_core.bundle.files import FileIndex, open_index
from forensics_core.bundle.manifest import Container
from forensics_core.bundle.reader import open_bundle
from forensics_core.bundle.writer import BundleWriter
from forensics_core.errors import ForensicsError
from forensics_core.storage.local import LocalStorage
from lab.containerd import Containerd
from lab.docker import DockerEngine
from tests.bundles import capture as predicate
from tests.integration.collector.conftest import Bundle

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="read from the node by root only")

KINDS = (ArtifactKind.DIFF, ArtifactKind.FILESYSTEM, ArtifactKind.LOGS)
WORK = ("/bin/sh", "-c", "echo found > /srv/trace; echo said; rm /etc/passwd")
STAY = ("/bin/sh", "-c", "echo found > /srv/trace; echo said; exec sleep 1000")


@pytest.fixture(params=["docker", "containerd"])
def place(
    request: pytest.FixtureRequest, use_env: Callable[[Mapping[str, str]], None]
) -> tuple[str, DockerEngine | Containerd, str]:
    """A runtime's scheme, the lab's engine, and an image."""
    image = {"docker": "image", "containerd": "cri_image"}[request.param]
    engine = request.getfixturevalue(request.param)
    use_env(engine.env)
    return request.param, engine, request.getfixturevalue(image)


@asynccontextmanager
async def attempt(
    runtime: Runtime,
    bundle: Bundle,
    *references: str,
    kinds: Sequence[ArtifactKind] = KINDS,
    max_held: int = preopen.MAX_DESCRIPTORS,
) -> AsyncIterator[Attempt]:
    """Open the containers; the bundle is finished with the block."""
    order = WorkOrder(
        destination=str(bundle.folder.parent),
        bundle=bundle.folder.name,
        uid=uuid4(),
        targets=tuple(
            ContainerTarget(name=f"c{number}", container_id=reference)
            for number, reference in enumerate(references)
        ),
        artifacts=tuple(kinds),
        layer_seconds=60,
    )
    writer = BundleWriter(LocalStorage(bundle.folder))
    made = Attempt(order, runtime, writer, max_held=max_held)
    async with made.opened():
        yield made
    containers = tuple(
        Container(name=target.name, container_id=target.container_id) for target in order.targets
    )
    await writer.finish(predicate().model_copy(update={"containers": containers}))


async def log_of(engine: DockerEngine | Containerd, container: str) -> Path:
    if isinstance(engine, DockerEngine):
        return Path((await engine.inspect(container))["LogPath"])
    return Path((await engine.status(container)).status.log_path)


async def settled(runtime: Runtime, reference: str, state: str) -> ContainerInfo:
    """Wait until a container is in a state."""
    while (found := await runtime.find(reference)).state != state:
        await to_thread.run_sync(os.sched_yield)
    return found


def upper(bundle: Bundle) -> tarfile.TarFile:
    packed = (bundle.folder / "containers/c0/upper.tar.zst").read_bytes()
    reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
    return tarfile.open(fileobj=io.BytesIO(reader.read()))


def logs(bundle: Bundle) -> list[bytes]:
    return [file.read_bytes() for file in (bundle.folder / "containers/c0/logs").iterdir()]


@pytest.mark.parametrize("command", [WORK, STAY])
async def test_a_log_that_is_removed_with_its_container_comes_home_whole(
    command: tuple[str, ...], place: tuple[str, DockerEngine | Containerd, str], bundle: Bundle
) -> None:
    scheme, engine, image = place
    container = await engine.run(image, command)
    async with open_runtime(scheme) as runtime:
        state = "exited" if command is WORK else "running"
        await settled(runtime, f"{scheme}://{container}", state)
        log = await log_of(engine, container)
        while b"said" not in (whole := log.read_bytes()):
            await to_thread.run_sync(os.sched_yield)
        if command is STAY:
            pid = await runtime.process(await runtime.find(f"{scheme}://{container}"))
            os.mknod(f"/proc/{pid}/root/srv/door", stat.S_IFSOCK | 0o600)
        async with attempt(runtime, bundle, f"{scheme}://{container}") as under_way:
            await engine.remove(container)
            await to_thread.run_sync(lambda: shutil.rmtree(log.parent, ignore_errors=True))
            await under_way.capture_all()
    assert logs(bundle) == [whole] and "logs" not in bundle.gaps()
    assert bundle.gaps()["files of the file system"] == "Gone"
    assert bundle.gaps()["diff.json, its rest"] == "Gone"
    assert ("sockets of upper.tar" in bundle.gaps()) is (command is STAY)
    written = upper(bundle)
    trace = written.extractfile("./srv/trace")
    assert trace and trace.read() == b"found\n"
    if command is WORK:
        removed = written.getmember("./etc/passwd")
        assert removed.ischr() and (removed.devmajor, removed.devminor) == (0, 0)
    async with open_bundle(str(bundle.folder)) as opened:
        index = await open_index(opened, "c0", upper=True)
        if command is STAY:
            door = await index.find(b"/srv/door")
            assert door and door.kind == "socket"
        row = await find_file(index, b"/srv/trace")
        async with aclosing(read_file(opened, index, row)) as blocks:
            assert b"".join([block async for block in blocks]) == b"found\n"
        with pytest.raises(ForensicsError, match="is not in the archive"):
            await find_file(index, b"/bin/busybox")
        await see_one_tree(await open_index(opened, "c0"), deleted=command is WORK)


async def see_one_tree(index: FileIndex, *, deleted: bool) -> None:
    """See that what the container had written lies on top of what could be read afterwards."""
    found = await index.find(b"/srv/trace")
    assert found and found.layer == "upper"
    if deleted:
        removed = await index.find(b"/etc/passwd")
        assert removed and (removed.kind, removed.layer) == ("char", "upper")
    rows = [row async for row in index.rows()]
    files = [row.path for row in rows if row.kind != "directory"]
    assert len(files) == len(set(files)) and b"/srv/trace" in files
    assert [row.path for row in await index.list(b"/srv")].count(b"/srv/trace") == 1


async def test_the_files_of_a_container_that_ends_meanwhile_come_home_whole(
    place: tuple[str, DockerEngine | Containerd, str], bundle: Bundle
) -> None:
    """It ends, and its file system is unmounted: so it goes when it crashes."""
    scheme, engine, image = place
    async with engine.container(image, STAY) as container, open_runtime(scheme) as runtime:
        await engine.exec(container, "until [ -s /srv/trace ]; do sleep 0.1; done")
        async with attempt(runtime, bundle, f"{scheme}://{container}") as under_way:
            await engine.stop(container)
            await settled(runtime, f"{scheme}://{container}", "exited")
            await under_way.capture_all()
    trace = bundle.tar("c0").extractfile("./srv/trace")
    assert trace and trace.read() == b"found\n"
    # What was in memory went with its processes, and is told.
    assert set(bundle.gaps()) <= {"mount /dev", "mount /dev/shm"}
    assert any(b"said" in log for log in logs(bundle))


async def test_what_is_held_does_not_keep_a_runtime_from_removing_a_container(
    place: tuple[str, DockerEngine | Containerd, str], bundle: Bundle
) -> None:
    scheme, engine, image = place
    container = await engine.run(image, STAY)
    async with (
        open_runtime(scheme) as runtime,
        attempt(runtime, bundle, f"{scheme}://{container}") as under_way,
    ):
        assert under_way.captures[0].held.root is not None
        await engine.stop(container)
        await engine.remove(container)
        table = Path("/proc/self/mountinfo").read_text()
        assert container not in table
        left = [each.container_id for each in await runtime.list()]
    assert f"{scheme}://{container}" not in left


async def test_a_container_that_docker_restarts_again_and_again(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    host = {"NetworkMode": "none", "RestartPolicy": {"Name": "always"}}
    crash = ("/bin/sh", "-c", "echo found > /srv/trace; echo said; exit 1")
    container = await docker.run(image, crash, HostConfig=host)
    reference = f"docker://{container}"
    await settled(runtime, reference, "restarting")
    async with attempt(runtime, bundle, reference) as under_way:
        await settled(runtime, reference, "running")
        await settled(runtime, reference, "restarting")
        await under_way.capture_all()
    await docker.remove(container)
    (log,) = logs(bundle)
    assert log.count(b"said") >= 1
    trace = bundle.tar("c0").extractfile("./srv/trace")
    assert trace and trace.read() == b"found\n"


class Vanishing:
    """A runtime one of whose containers is removed between its being found and being opened."""

    def __init__(self, runtime: Runtime, engine: DockerEngine | Containerd, container: str) -> None:
        self._runtime, self._engine, self._container = runtime, engine, container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    async def find(self, reference: str) -> ContainerInfo:
        found = await self._runtime.find(reference)
        if found.key == self._container:
            await self._engine.remove(self._container)
        return found


async def test_a_container_that_is_removed_between_finding_and_opening_is_told(
    place: tuple[str, DockerEngine | Containerd, str], bundle: Bundle
) -> None:
    scheme, engine, image = place
    gone = await engine.run(image, STAY)
    async with engine.container(image, STAY) as stays, open_runtime(scheme) as runtime:
        vanishing: Any = Vanishing(runtime, engine, gone)
        references = (f"{scheme}://{gone}", f"{scheme}://{stays}")
        async with attempt(vanishing, bundle, *references) as under_way:
            assert under_way.captures[0].held.root is None
            assert under_way.captures[1].held.root is not None
            await under_way.capture_all()
    missing = {gap.what for gap in bundle.capture.not_captured if gap.container == "c0"}
    # Docker removes the log with the container; under the CRI that is the kubelet's to do.
    assert missing >= {"diff", "filesystem"}
    assert scheme != "docker" or any("logs" in what for what in missing)
    assert not [gap for gap in bundle.capture.not_captured if gap.container == "c1"]


async def test_only_what_is_wanted_is_held(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        reference = f"docker://{container}"
        async with attempt(runtime, bundle, reference, kinds=[ArtifactKind.LOGS]) as under_way:
            capture = under_way.captures[0]
            assert capture.held.logs and (capture.held.root, capture.held.layers) == (None, None)


async def test_nothing_is_held_past_the_limit_and_all_is_read_later(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with (
        docker.container(image, STAY) as container,
        attempt(runtime, bundle, f"docker://{container}", max_held=0) as under_way,
    ):
        capture = under_way.captures[0]
        assert (capture.held.root, capture.held.layers, capture.held.logs) == (None, None, None)
        await under_way.capture_all()
    assert not bundle.gaps() and logs(bundle)


class Stuck:
    """A runtime whose storage hangs."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def layers(self, _: ContainerInfo) -> Any:
        self.asked.append("layers")
        raise Unavailable("It took too long", reason="Hung")

    def root(self, _: ContainerInfo) -> Any:
        self.asked.append("root")
        raise Unavailable("It took too long", reason="Hung")


async def test_a_storage_that_hangs_is_tried_once_only(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as one, docker.container(image) as two:
        stuck: Any = Stuck(runtime)
        async with attempt(stuck, bundle, f"docker://{one}", f"docker://{two}"):
            assert stuck.asked == ["layers"]


async def test_no_descriptor_is_left_open(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with (
        docker.container(image) as container,
        attempt(runtime, bundle, f"docker://{container}") as under_way,
    ):
        held_open = under_way.captures[0].held
        assert held_open.layers and held_open.logs and held_open.root
        links = [
            *(held_open.layers.upper, *held_open.layers.lower_layers, held_open.root),
            *(file.descriptor for file in held_open.logs.files),
        ]
        before = {number: Path(f"/proc/self/fd/{number}").readlink() for number in links}
    after = {
        number: Path(path).readlink()
        for number in links
        if os.path.lexists(path := f"/proc/self/fd/{number}")
    }
    assert not before.items() & after.items()


async def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
        async with preopening() as hold:
            assert isinstance(hold, Preopened)
        raised, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert raised == min(hard, preopen.MAX_DESCRIPTORS + 512) or hard == -1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
