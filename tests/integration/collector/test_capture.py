"""Real containers in every state become whole bundles."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from collector.attempt import Attempt
from collector.capture import CaptureResult, capture
from collector.container import ContainerCapture
from collector.docker.runtime import DockerRuntime
from collector.local import ARTIFACTS, CaptureOptions, capture_container
from forensics_core.api.order import ArtifactKind, Compression, ContainerTarget, WorkOrder
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import BundleWriter
from forensics_core.errors import (
    ContainerNotFound,
    DestinationFull,
    ObjectExists,
    UsageError,
)
from forensics_core.pipeline.meter import Meter
from forensics_core.storage.local import LocalStorage
from forensics_core.storage.objects import ObjectWriter
from lab.docker import DockerEngine
from lab.engine import FOREVER
from lab.sink import StoreSink
from lab.tamper import ODD_NAMES, XATTR_VALUE, tamper
from tests.integration.collector.conftest import Bundle

LIVE = {
    "processes.json",
    "proc.tar.zst",
    "proc.index.jsonl.zst",
    "proc.lookup.jsonl.zst",
    "network.json",
}
STILL = {
    "diff.json",
    "rootfs.tar.zst",
    "rootfs.index.jsonl.zst",
    "rootfs.lookup.jsonl.zst",
    "mounts.json",
    "mounts.tar.zst",
    "mounts.index.jsonl.zst",
    "mounts.lookup.jsonl.zst",
    "logs/json-file.log",
    "inspect.json",
    "image.json",
    "layers.json",
}
SPEAK = ("/bin/sh", "-c", "echo out; echo err >&2; echo again; exec sleep 1000")

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="read from the node by root only")
pytestmark = root_only


async def collect(
    bundle: Bundle, *containers: str, options: CaptureOptions | None = None
) -> CaptureResult:
    """Capture into `bundle`, by the containers' IDs."""
    references = [f"docker://{container}" for container in containers]
    options = options or CaptureOptions()
    named = CaptureOptions(
        options.artifacts,
        options.compression,
        bundle.folder.name,
        "",
        options.reason,
        layer_seconds=60,
    )
    return await capture_container(*references, to=str(bundle.folder.parent), options=named)


def files(bundle: Bundle) -> set[str]:
    """Return the names of the artifacts, without their container's folder."""
    return {
        artifact.name.split("/", 2)[2]
        for artifact in bundle.capture.artifacts
        if artifact.container is not None
    }


async def test_a_running_container(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image, SPEAK, name=f"web-{uuid4().hex[:6]}") as container:
        await docker.exec(container, "echo hello > /tmp/greeting")
        result = await collect(bundle, container)
        said = await runtime.find(f"docker://{container}")
    folder = f"containers/{said.name}"
    assert not result.partial and result.location == bundle.folder.as_uri() + "/"
    assert files(bundle) == LIVE | STILL
    assert (bundle.folder / folder / "inspect.json").read_bytes() == said.document
    changes = bundle.json(f"{folder}/diff.json")["changes"]
    assert ("A", "/tmp/greeting") in {(row["kind"], row["path"]) for row in changes}
    greeting = bundle.tar(said.name).extractfile("./tmp/greeting")
    assert greeting and greeting.read() == b"hello\n"
    row = bundle.capture.containers[0]
    assert (row.state, row.result, row.runtime) == ("running", "Captured", "docker")
    assert row.container_id == f"docker://{container}"
    assert {a.method for a in bundle.capture.artifacts if a.container} == {
        "proc",
        "layer-digests",
        "file",
        "engine-api",
        "tree",
        "index",
        "mounts",
        "overlay-upperdir",
    }


async def test_the_clocks_of_node_and_service_are_recorded(
    docker: DockerEngine,
    image: str,
    runtime: DockerRuntime,
    bundle: Bundle,
    sink: StoreSink,
    use_env: Callable[[Mapping[str, str]], None],
) -> None:
    use_env(sink.env)
    options = CaptureOptions([ArtifactKind.INSPECT])
    async with docker.container(image) as container:
        reference = f"docker://{container}"
        result = await capture_container(reference, to="s3://cases", options=options)
        await collect(bundle, container, options=options)
    start, first, last, end = result.statement.predicate.clocks
    assert start.destination is None is end.destination
    assert first.destination and last.destination
    offsets = [row.monotonic_offset for row in (start, first, last, end)]
    assert offsets == sorted(offsets) and offsets[0] == 0
    assert start.node <= first.node <= last.node <= end.node
    assert [row.destination for row in bundle.capture.clocks] == [None, None]


async def test_a_paused_container_with_processes_and_sockets(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    listen = ("/bin/sh", "-c", "sleep 999 & exec nc -l -p 4444")
    async with docker.container(image, listen) as container:
        await docker.exec(container, "until netstat -ltn | grep -q 4444; do sleep 0.1; done")
        await docker.pause(container)
        result = await collect(bundle, container)
        await docker.unpause(container)
        name = bundle.capture.containers[0].name
    assert not result.partial and bundle.capture.containers[0].state == "paused"
    assert files(bundle) == LIVE | STILL
    rows = bundle.json(f"containers/{name}/processes.json")["processes"]
    assert {row["nspid"][-1] for row in rows} >= {1}
    assert ["sleep", "999"] in [row["cmdline"] for row in rows]
    (space,) = bundle.json(f"containers/{name}/network.json")["namespaces"]
    (listening,) = (row for row in space["sockets"] if row["state"] == "LISTEN")
    assert listening["local"]["port"] == 4444
    first = next(row["pid"] for row in rows if row["nspid"][-1] == 1)
    assert listening["pids"] == [first] and space["host"] is False


@pytest.mark.parametrize("state", ["exited", "created"])
async def test_a_container_that_does_not_run(
    state: str, docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    container = await docker.create(image, ("/bin/sh", "-c", "echo done > /last; rm /etc/passwd"))
    if state == "exited":
        await docker.start(container)
        await docker.wait(container)
    result = await collect(bundle, container)
    await docker.remove(container)
    assert not result.partial
    assert bundle.capture.containers[0].state == state
    # Before its first start nothing was ever mounted, and there is no log: the engine's answer,
    # which is empty, stands for it.
    unmounted = {"mounts.tar.zst", "mounts.index.jsonl.zst", "mounts.lookup.jsonl.zst"}
    empty = {"logs/stdout.log", "logs/stderr.log"}
    created = STILL - unmounted - {"logs/json-file.log"} | empty
    assert files(bundle) == (STILL if state == "exited" else created)
    still = ("processes", "network", "node/")
    assert bundle.gaps() == dict.fromkeys(still, "NotRunning")
    names = bundle.tar(bundle.capture.containers[0].name).getnames()
    assert ("./last" in names, "./etc/passwd" in names) == (state == "exited", state == "created")
    rootfs = next(a for a in bundle.capture.artifacts if "rootfs.tar" in a.name)
    assert rootfs.method == "tree" and not rootfs.flags


async def test_an_intruders_traces(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        await tamper(docker, container)
        await collect(bundle, container)
    name = bundle.capture.containers[0].name
    tar = bundle.tar(name)
    names = {member.encode(errors="surrogateescape") for member in tar.getnames()}
    assert {b"./tmp/.x/" + odd for odd in ODD_NAMES} <= names
    backdoor = tar.getmember("./tmp/.x/backdoor")
    assert backdoor.mode & stat.S_ISUID or tar.getmember("./tmp/.x/hardlink").mode & stat.S_ISUID
    assert tar.getmember("./tmp/.x/pipe").isfifo()
    kept = [member.pax_headers.get("SCHILY.xattr.user.origin") for member in tar.getmembers()]
    assert XATTR_VALUE.decode() in kept
    sockets = [gap for gap in bundle.capture.not_captured if gap.what == "sockets"]
    assert len(sockets) == 1 and not sockets[0].requested


async def test_several_containers_and_no_compression(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    meter = Meter()
    async with docker.container(image) as one, docker.container(image) as two:
        options = CaptureOptions([ArtifactKind.FILESYSTEM], Compression.NONE, "case", "")
        references = [f"docker://{one[:20]}", f"docker://{two}"]
        to = str(bundle.folder.parent)
        await capture_container(*references, to=to, options=options, meter=meter)
    assert {row.container_id for row in bundle.capture.containers} == {
        f"docker://{one}",
        f"docker://{two}",
    }
    index = {"rootfs.index.jsonl.zst", "rootfs.lookup.jsonl.zst"}
    mounts = {"mounts.json", "mounts.tar", "mounts.index.jsonl.zst", "mounts.lookup.jsonl.zst"}
    assert files(bundle) == {"rootfs.tar", "layers.json"} | index | mounts
    assert (meter.artifacts_done, meter.artifacts_total) == (17, 17)


async def test_another_containers_bundle_of_that_name_gets_nothing_added(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as first, docker.container(image) as second:
        await collect(bundle, first)
        before = sorted(path.name for path in bundle.folder.rglob("*"))
        with pytest.raises(ObjectExists, match=r"order\.json"):
            await collect(bundle, second)
    assert sorted(path.name for path in bundle.folder.rglob("*")) == before


async def test_an_existing_bundle_stays_as_it_is(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        await collect(bundle, container)
        before = {name: (bundle.folder / name).read_bytes() for name in bundle.names()}
        with pytest.raises(ObjectExists, match="never overwritten"):
            await collect(bundle, container)
    assert {name: (bundle.folder / name).read_bytes() for name in bundle.names()} == before


def order_for(bundle: Bundle, *containers: str, **more: object) -> WorkOrder:
    return WorkOrder.model_validate(
        {
            "destination": str(bundle.folder.parent),
            "bundle": bundle.folder.name,
            "uid": uuid4(),
            "targets": [
                ContainerTarget(name=f"c{number}", container_id=f"docker://{container}")
                for number, container in enumerate(containers)
            ],
            "artifacts": ARTIFACTS,
            "layer_seconds": 60,
            **more,
        }
    )


class Interfering(LocalStorage):
    """A folder that removes a container while its file system is being stored."""

    def __init__(self, path: Path, engine: DockerEngine, container: str) -> None:
        super().__init__(path)
        self._engine, self._container = engine, container

    def create(
        self, name: str, *, content_type: str = "application/octet-stream"
    ) -> AbstractAsyncContextManager[ObjectWriter]:
        return self._create(name)

    @asynccontextmanager
    async def _create(self, name: str) -> AsyncIterator[ObjectWriter]:
        async with super().create(name) as writer:
            if "rootfs" in name:
                await self._engine.remove(self._container)
            yield writer


async def test_a_container_removed_in_the_middle(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    container = await docker.run(image)
    order = order_for(bundle, container)
    result = await capture(order, runtime, Interfering(bundle.folder, docker, container))
    assert result.partial
    assert bundle.gaps()["files of the file system"] == "Gone"
    assert "logs" not in bundle.gaps()
    assert files(bundle) >= LIVE | {"diff.json", "inspect.json", "logs/json-file.log"}
    assert bundle.capture.containers[0].result == "Partial"


async def test_one_of_two_targets_is_gone(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        order = order_for(bundle, container, "0" * 64, artifacts=[ArtifactKind.INSPECT])
        result = await capture(order, runtime, LocalStorage(bundle.folder))
    assert result.partial and bundle.gaps() == {"container": "Gone"}
    assert [row.result for row in bundle.capture.containers] == ["Captured", "Failed"]


async def test_nothing_but_unknown_containers_is_an_error(
    runtime: DockerRuntime, bundle: Bundle
) -> None:
    with pytest.raises(ContainerNotFound):
        await capture(order_for(bundle, "0" * 64), runtime, LocalStorage(bundle.folder))
    assert bundle.names() == set()


async def test_what_this_release_lacks_is_named(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        kinds = [ArtifactKind.INSPECT, ArtifactKind.VOLUMES]
        order = order_for(bundle, container, artifacts=kinds, not_captured=["events: forbidden"])
        result = await capture(order, runtime, LocalStorage(bundle.folder))
    assert result.partial
    gaps = {"volumes": "NoVolume", "context": "NotGathered"}
    assert bundle.gaps() == gaps


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"targets": []}, "names no container"),
        ({"targets": [ContainerTarget(name="a", container_id="docker://b")] * 2}, "same name"),
    ],
)
async def test_orders_that_cannot_be_carried_out(
    change: dict[str, object], said: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    order = order_for(bundle, "x", **change)
    with pytest.raises(UsageError, match=said):
        await capture(order, runtime, LocalStorage(bundle.folder))


async def test_after_the_deadline_nothing_more_is_read(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        writer = BundleWriter(LocalStorage(bundle.folder))
        attempt = Attempt(order_for(bundle, container), runtime, writer)
        attempt.clock -= 3600
        async with attempt.opened():
            await attempt.capture_all()
    late = {gap.what: gap.reason for gap in writer.not_captured if gap.requested}
    assert late == dict.fromkeys(ARTIFACTS, "Deadline")
    assert writer.artifacts == [] and writer.meter.artifacts_total == 0
    assert attempt.containers()[0].result == "Failed"


async def test_a_stream_is_cut_at_the_deadline_and_kept(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"line\n"
            await anyio.sleep(0.01)

    async with docker.container(image) as container:
        found = await runtime.find(f"docker://{container}")
    for seconds in (0.3, 3, 30):  # until a line came in time
        writer = BundleWriter(LocalStorage(bundle.folder / f"{seconds}"))
        deadline = anyio.current_time() + seconds
        capture = ContainerCapture("web", found, runtime, writer, Compression.NONE, deadline)
        kind = ArtifactKind.LOGS
        await capture.add("logs/x", kind, endless(), method="test", media_type="text/plain")
        (artifact,) = writer.artifacts
        if artifact.size:
            break
    assert artifact.flags == (Flag.TRUNCATED,) and artifact.size > 0
    assert [(gap.reason, gap.requested) for gap in writer.not_captured] == [("Deadline", True)]


async def test_a_full_disk_ends_it_without_a_manifest(
    docker: DockerEngine, image: str, runtime: DockerRuntime, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)]
    if (await anyio.run_process(mount, check=False)).returncode:
        pytest.skip("mounting is not permitted")
    try:
        async with docker.container(image, FOREVER) as container:
            with pytest.raises(DestinationFull, match="No space is left"):
                await collect(Bundle(small / "case"), container)
        left = Bundle(small / "case").names()
    finally:
        await anyio.run_process(["umount", str(small)])
    assert "manifest.json" not in left
    assert not [name for name in left if "rootfs" in name]


async def test_a_hostile_environment_costs_no_evidence(
    docker: DockerEngine, image: str, bundle: Bundle, use_env: Callable[[Mapping[str, str]], None]
) -> None:
    use_env({**docker.env, "TAR_OPTIONS": "--exclude-vcs --remove-files", "TZ": "Asia/Tokyo"})
    async with docker.container(image) as container:
        await docker.exec(container, "mkdir /srv/.git && echo main > /srv/.git/HEAD")
        result = await collect(bundle, container)
        assert await docker.exec(container, "cat /srv/.git/HEAD") == "main\n"
    assert not result.partial
    head = bundle.tar(bundle.capture.containers[0].name).extractfile("./srv/.git/HEAD")
    assert head and head.read() == b"main\n"
