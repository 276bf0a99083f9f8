"""Docker and containerd: the same visit of an intruder leaves the same evidence."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from anyio import to_thread

from collector.capture import CaptureResult
from collector.files.changes import ChangeSet, OpenLayers
from collector.files.gnu_tar import read_tree
from collector.local import CaptureOptions, capture_container
from collector.runtimes.opening import open_runtime
from collector.runtimes.runtime import Runtime
from forensics_core.api.order import ArtifactKind
from forensics_core.errors import ContainerNotFound
from lab.images import APP_CONFIG
from lab.tamper import Tampering, tamper
from tests.integration.collector.conftest import Bundle

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="read from the node by root only")

SPEAK = ("/bin/sh", "-c", "echo out; echo err >&2; trap 'exit 0' TERM; while :; do sleep 1; done")
MORE = r"""
mv /srv/www /srv/site
mv /var/log/app.log /var/log/old.log
rm /etc/group; mkdir /etc/group; echo x > /etc/group/inside
rm -r /srv/app/server.sh; ln -s /bin/false /srv/app/server.sh
touch /srv/twin; chmod 0644 /etc/shadow; chmod 0600 /etc/shadow
"""
"""What `lab.tamper` leaves out: renames, changes of type, a file copied up for nothing."""


class TamperTarget(Protocol):
    """What the lab's engines have in common."""

    @property
    def env(self) -> Mapping[str, str]: ...
    async def create(self, image: str, command: tuple[str, ...] = ...) -> str: ...
    async def exec(self, container: str, script: str) -> str: ...
    async def pid(self, container: str) -> int: ...
    async def stop(self, container: str) -> None: ...
    async def remove(self, container: str) -> None: ...
    def container(
        self, image: str, command: tuple[str, ...] = ...
    ) -> AbstractAsyncContextManager[str]: ...


@dataclass(frozen=True)
class Place:
    """A runtime with an image."""

    scheme: str
    engine: TamperTarget
    image: str

    def reference(self, container: str) -> str:
        return f"{self.scheme}://{container}"

    @asynccontextmanager
    async def tampered(self) -> AsyncIterator[tuple[str, Tampering]]:
        """Run a container that an intruder has visited."""
        async with self.engine.container(self.image, SPEAK) as container:
            yield container, await tamper(self.engine, container)


@pytest.fixture(params=["docker", "containerd"])
def place(request: pytest.FixtureRequest, use_env: Callable[[Mapping[str, str]], None]) -> Place:
    image = {"docker": "image", "containerd": "cri_image"}[request.param]
    engine = request.getfixturevalue(request.param)
    use_env(engine.env)
    return Place(request.param, engine, request.getfixturevalue(image))


@pytest.fixture
async def runtime(place: Place) -> AsyncIterator[Runtime]:
    async with open_runtime(place.scheme) as opened:
        yield opened


def walk(layers: OpenLayers) -> list[dict[str, Any]]:
    return [row for row in ChangeSet(layers).rows() if row]


async def rows_of(runtime: Runtime, reference: str) -> list[dict[str, Any]]:
    """Return the change set, without what the runtime itself put there."""
    container = await runtime.find(reference)
    async with runtime.layers(container) as layers:
        rows = await to_thread.run_sync(walk, layers)
    return [row for row in rows if "mountPlaceholder" not in row["notes"]]


def path_of(row: Mapping[str, Any]) -> bytes:
    return base64.b64decode(row["raw"]) if "raw" in row else str(row["path"]).encode()


async def test_the_change_set_is_what_was_done(place: Place, runtime: Runtime) -> None:
    async with place.tampered() as (container, done):
        rows = await rows_of(runtime, place.reference(container))
    found = {kind: {path_of(r) for r in rows if r["kind"] == kind} for kind in "ACD"}
    assert found["A"] == done.added
    assert found["C"] >= done.changed
    assert found["D"] == done.deleted
    parents = {path_of(r) for r in rows if r["kind"] == "C" and r["type"] == "directory"}
    assert found["C"] - done.changed <= parents
    edited = next(r for r in rows if r["path"] == "/etc/app.conf")
    assert edited["notes"] == ["mtimeRestored"] and edited["size"] == len(APP_CONFIG)
    backdoor = next(r for r in rows if r["path"] == "/tmp/.x/backdoor")
    assert (backdoor["mode"], backdoor["uid"], backdoor["type"]) == ("4755", 0, "file")
    assert (
        backdoor["sha256"] == hashlib.sha256(b"#!/bin/sh\nnc -l -p 4444 -e /bin/sh\n").hexdigest()
    )


SUMS: dict[str, object] = {}
"""What each runtime's change set was, to compare."""


async def test_both_runtimes_have_the_same_change_set(place: Place, runtime: Runtime) -> None:
    async with place.tampered() as (container, _):
        await place.engine.exec(container, MORE)
        rows = await rows_of(runtime, place.reference(container))
    volatile = {"mtime", "ctime"}
    folders = ("directory",)
    SUMS[place.scheme] = {
        path_of(row): {
            key: value
            for key, value in row.items()
            # sizes of directories and what only the runtime's own mounts touched are the node's
            if key not in volatile and not (key in {"size", "notes"} and row["type"] in folders)
        }
        for row in rows
        if row["path"] not in {"/etc", "/dev", "/"}
    }
    notes = {path_of(row): row["notes"] for row in rows}
    assert notes[b"/etc/shadow"] == ["identical"]
    assert notes[b"/etc/group"] == ["typeChanged"] and b"/etc/group/inside" in notes
    assert {len(each) if isinstance(each, dict) else 0 for each in SUMS.values()} != {0}
    first, *others = SUMS.values()
    assert all(other == first for other in others)


async def test_a_running_and_a_stopped_container_are_captured_whole(
    place: Place, bundle: Bundle, tmp_path: Path
) -> None:
    async with place.tampered() as (container, done):
        live = await collect(bundle, place.reference(container))
        name = bundle.capture.containers[0].name
        running = {member.name for member in bundle.tar(name).getmembers()}
        await place.engine.stop(container)
        still = Bundle(tmp_path / "evidence" / "still")
        stopped = await collect(still, place.reference(container))
    assert not live.partial and bundle.gaps() == {"sockets": "NotSupported"}
    assert not stopped.partial and still.capture.containers[0].state == "exited"
    assert still.gaps()["processes"] == "NotRunning"
    assert running == {member.name for member in still.tar(name).getmembers()}
    assert "./tmp/.x/backdoor" in running and "./var/log/auth.log" not in running
    assert done.added
    assert _comparable(bundle, name) == _comparable(still, name)


def _comparable(bundle: Bundle, name: str) -> list[Any]:
    rows: list[Any] = bundle.json(f"containers/{name}/diff.json")["changes"]
    return rows


async def collect(bundle: Bundle, reference: str, **options: Any) -> CaptureResult:
    named = CaptureOptions(name=bundle.folder.name, subpath="", layer_seconds=60, **options)
    return await capture_container(reference, to=str(bundle.folder.parent), options=named)


async def test_logs_and_inspection(place: Place, bundle: Bundle) -> None:
    kinds = [ArtifactKind.LOGS, ArtifactKind.INSPECT]
    async with place.engine.container(place.image, SPEAK) as container:
        text = b""
        while b"err" not in text:
            await collect(bundle, place.reference(container), artifacts=kinds)
            logs = (bundle.folder / "containers").rglob("logs/*")
            text = b"".join(sorted(log.read_bytes() for log in logs))
            if b"err" not in text:
                bundle = Bundle(bundle.folder.with_name(bundle.folder.name + "x"))
        name = bundle.capture.containers[0].name
        said = bundle.json(f"containers/{name}/inspect.json")
    assert container in json.dumps(said) and b"out" in text
    assert bundle.capture.containers[0].runtime == place.scheme
    assert bundle.json(f"containers/{name}/image.json")


async def test_containers_are_listed_and_found_by_name(place: Place, runtime: Runtime) -> None:
    async with place.engine.container(place.image) as container:
        (row,) = [row for row in await runtime.list() if container in row.container_id]
        found = await runtime.find(row.container_id[: len(place.scheme) + 3 + 16])
    assert row.state == "running" and found.container_id == row.container_id
    assert found.image_id and found.name
    with pytest.raises(ContainerNotFound):
        await runtime.find(place.reference(container))


async def test_a_paused_container_is_resumed(place: Place, runtime: Runtime) -> None:
    async with place.engine.container(place.image) as container:
        found = await runtime.find(place.reference(container))
        await runtime.pause(found)
        assert (await runtime.inspect(found)).state == "paused"
        await runtime.resume(found)
        assert (await runtime.inspect(found)).state == "running"


async def test_the_container_cannot_lead_the_reader_out(place: Place, runtime: Runtime) -> None:
    """Directories and links to the host change places while the layers are read."""
    swap = """
mkdir -p /tmp/a/real; echo secret-of-the-container > /tmp/a/real/passwd; ln -s /etc /tmp/a/link
while :; do mv -T /tmp/a/real /tmp/a/now; mv -T /tmp/a/now /tmp/a/real
mv -T /tmp/a/link /tmp/a/now; mv -T /tmp/a/now /tmp/a/link; done 2>/dev/null
"""
    host = hashlib.sha256(Path("/etc/passwd").read_bytes()).hexdigest()
    async with place.engine.container(place.image, ("/bin/sh", "-c", swap)) as container:
        found = await runtime.find(place.reference(container))
        seen = set[str]()
        async with runtime.layers(found) as layers:
            for _ in range(200):
                rows = await to_thread.run_sync(walk, layers)
                seen |= {str(row.get("sha256")) for row in rows}
        async with runtime.root(found) as root:
            for _ in range(5):
                async with read_tree(root) as reading:
                    archive = b"".join([bytes(block) async for block in reading.blocks])
                assert Path("/etc/passwd").read_bytes() not in archive
    own = hashlib.sha256(b"secret-of-the-container\n").hexdigest()
    assert own in seen and host not in seen
