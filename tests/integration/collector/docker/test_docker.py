"""The Docker Engine as a runtime: what it knows, and what can be wrong with it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import anyio
import pytest
from aiohttp import web
from anyio import to_thread

from collector.docker.runtime import MAX_EXECS, DockerRuntime, open_docker
from collector.files import mounts
from collector.local import CaptureOptions, capture_container
from collector.node.procfs import companions
from collector.runtimes.runtime import ContainerInfo, LogStream, Unavailable
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import Flag
from forensics_core.errors import (
    ContainerGone,
    ContainerNotFound,
    RuntimeUnavailable,
    SourceError,
    UsageError,
)
from lab.docker import DockerEngine
from tests.integration.collector.conftest import Bundle
from tests.integration.collector.proxy import proxy

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


async def test_a_container_is_found_by_name_by_id_and_by_the_beginning_of_its_id(
    docker: DockerEngine, image: str, runtime: DockerRuntime
) -> None:
    name = f"web-{uuid4().hex[:8]}"
    async with docker.container(image, name=name) as container:
        for reference in (name, container, container[:20]):
            found = await runtime.find(f"docker://{reference}")
            assert (found.container_id, found.name) == (f"docker://{container}", name)
        assert found.state == "running" and found.image == image
        assert json.loads(await runtime.image(found))["Id"] == found.image_id
    assert (await runtime.version()).startswith("docker ")


async def test_an_unknown_container_brings_similar_names_to_mind(
    docker: DockerEngine, image: str, runtime: DockerRuntime
) -> None:
    name = f"payments-{uuid4().hex[:8]}"
    async with docker.container(image, name=name):
        with pytest.raises(ContainerNotFound) as caught:
            await runtime.find(f"docker://{name}s")
    assert name in caught.value.hint


async def test_the_beginning_of_two_ids_is_ambiguous(
    docker: DockerEngine, image: str, runtime: DockerRuntime
) -> None:
    # Seventeen IDs in hexadecimal: two of them begin alike.
    made = [await docker.create(image) for _ in range(17)]
    firsts = [container[0] for container in made]
    twice = next(first for first in firsts if firsts.count(first) > 1)
    with pytest.raises(UsageError, match="Give more of the ID"):
        await runtime.find(f"docker://{twice}")
    for container in made:
        await docker.remove(container)


async def test_a_container_that_is_gone(
    docker: DockerEngine, image: str, runtime: DockerRuntime
) -> None:
    async with docker.container(image) as container:
        found = await runtime.find(f"docker://{container}")
    with pytest.raises(ContainerGone):
        await runtime.inspect(found)
    with pytest.raises(ContainerGone):
        async with runtime.changes(found):
            pass


async def test_no_engine_at_that_socket(tmp_path: Path) -> None:
    async with open_docker(f"unix://{tmp_path}/none.sock") as runtime:
        with pytest.raises(RuntimeUnavailable, match="No Docker Engine runs"):
            await runtime.version()


@root_only
async def test_no_permission_on_the_socket(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o600)
        async with open_docker(f"unix://{path}") as runtime:
            os.seteuid(65534)
            try:
                with pytest.raises(RuntimeUnavailable, match="may not talk"):
                    await runtime.version()
            finally:
                os.seteuid(0)


@pytest.mark.parametrize("host", ["nonsense", "gopher://example.org", "ssh://root@node"])
async def test_a_malformed_docker_host(host: str) -> None:
    with pytest.raises(UsageError, match="leads nowhere"):
        async with open_docker(host):
            pass


async def test_nothing_listens_on_the_network() -> None:
    async with open_docker("tcp://127.0.0.1:1") as runtime:
        with pytest.raises(RuntimeUnavailable, match="No Docker Engine runs"):
            await runtime.version()


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def odd_engine(folder: Path, handler: Handler) -> AsyncIterator[DockerRuntime]:
    """Open an engine that answers everything with `handler`."""
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handler)
    server = web.AppRunner(app)
    await server.setup()
    await web.UnixSite(server, str(folder / "odd.sock")).start()
    try:
        async with open_docker(f"unix://{folder}/odd.sock") as runtime:
            yield runtime
    finally:
        await server.cleanup()


SOME = ContainerInfo("docker://1", "web", "", "sha256:1", "running", 1, (LogStream.STDOUT,), b"{}")


async def test_an_engine_that_breaks_off(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'[{"Path": "/a", "Kind": 1}, ')
        assert request.transport
        request.transport.abort()
        return response

    async with odd_engine(tmp_path, answer) as runtime:
        with pytest.raises(SourceError, match="broke off"):
            async with runtime.changes(SOME) as changes:
                [change async for change in changes]


async def test_an_engine_in_trouble(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=500, text="disk on fire")

    async with odd_engine(tmp_path, answer) as runtime:
        with pytest.raises(SourceError, match="answered 500: disk on fire"):
            async with runtime.export(SOME):
                pass


async def test_an_engine_that_hangs_up_at_once(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport
        request.transport.abort()
        return web.Response()

    async with odd_engine(tmp_path, answer) as runtime:
        with pytest.raises(RuntimeUnavailable, match="does not answer"):
            await runtime.version()


@pytest.mark.parametrize("body", ["<html>", "[]", '{"Name": 7}', "null"])
@pytest.mark.parametrize("status", [200, 404])
async def test_a_server_that_is_no_engine(tmp_path: Path, body: str, status: int) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=body)

    async with odd_engine(tmp_path, answer) as runtime:
        with pytest.raises(RuntimeUnavailable, match="is not a Docker Engine"):
            await runtime.version()
        if (status, body) != (200, "[]"):  # which is no container at all
            with pytest.raises(RuntimeUnavailable, match="is not a Docker Engine"):
                await runtime.list()
        with pytest.raises(RuntimeUnavailable, match="is not a Docker Engine"):
            await runtime.find("docker://web")


async def test_a_container_without_a_name_is_listed_by_its_id(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        row = {"Id": "4f2a" * 16, "Names": [], "Image": "web", "State": "removing"}
        return web.json_response([row])

    async with odd_engine(tmp_path, answer) as runtime:
        assert [row.name for row in await runtime.list()] == ["4f2a4f2a4f2a"]


async def test_a_container_in_a_sandbox_is_refused(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        said = {"Id": "1", "Name": "/web", "Config": {}, "State": {"Status": "running"}}
        return web.json_response({**said, "HostConfig": {"Runtime": "runsc"}})

    async with odd_engine(tmp_path, answer) as runtime:
        with pytest.raises(UsageError, match="'web' runs in gVisor"):
            await runtime.find("docker://web")


@root_only
async def test_a_running_container_without_a_merged_folder_is_read_through_its_process(
    docker: DockerEngine, image: str, runtime: DockerRuntime
) -> None:
    async with docker.container(image) as container:
        await docker.exec(container, "echo here > /tmp/mark")
        found = await runtime.find(f"docker://{container}")
        other = replace(found, document=b'{"GraphDriver": {"Name": "overlayfs", "Data": null}}')
        async with runtime.root(other) as root:
            view = Path(f"/proc/self/fd/{root}")
            assert (view / "tmp/mark").read_text() == "here\n"
            assert not list((view / "proc").iterdir())


@root_only
async def test_a_process_that_left_its_root_is_not_trusted(
    docker: DockerEngine, image: str, runtime: DockerRuntime
) -> None:
    jail = "mkdir -p /jail/bin; cp /bin/busybox /jail/bin; exec chroot /jail /bin/busybox sleep 999"
    async with docker.container(image, ("/bin/sh", "-c", jail)) as container:
        pid = await docker.pid(container)
        while Path(f"/proc/{pid}/comm").read_text() != "busybox\n":  # noqa: ASYNC110  # no event
            await anyio.sleep(0.05)
        with pytest.raises(PermissionError, match="changed its root"):
            await to_thread.run_sync(mounts.clone_root, pid, container)
        found = await runtime.find(f"docker://{container}")
        async with runtime.root(found) as root:
            assert Path(f"/proc/self/fd/{root}/etc/passwd").exists()
        other = replace(found, document=b'{"GraphDriver": {}}')
        with pytest.raises(Unavailable, match="changed its root"):
            async with runtime.root(other):
                pass


@root_only
async def test_a_process_number_that_means_another_process_now(
    docker: DockerEngine, image: str, runtime: DockerRuntime
) -> None:
    async with docker.container(image) as container:
        found = await runtime.find(f"docker://{container}")
        for pid in (os.getpid(), 2**22 + 1):
            with pytest.raises(Unavailable) as caught:
                await runtime.process(replace(found, pid=pid))
            assert caught.value.reason == "Remote"
        with pytest.raises(ProcessLookupError, match="not of the container"):
            await to_thread.run_sync(mounts.clone_root, os.getpid(), container)


@root_only
async def test_a_stopped_container_of_another_storage_driver(
    docker: DockerEngine, image: str, runtime: DockerRuntime
) -> None:
    container = await docker.create(image)
    found = await runtime.find(f"docker://{container}")
    with pytest.raises(Unavailable) as caught:
        async with runtime.root(replace(found, document=b"{}")):
            pass
    await docker.remove(container)
    assert caught.value.reason == "NotSupported"


def test_a_folder_that_nothing_is_mounted_on(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing is mounted"):
        mounts.open_mounted(tmp_path)


@root_only
async def test_processes_started_by_exec_belong_to_the_container(
    docker: DockerEngine, image: str, runtime: DockerRuntime
) -> None:
    async with docker.container(image) as container:
        await docker.exec(container, "sleep 987 >/dev/null 2>&1 &")
        found = await runtime.find(f"docker://{container}")
        first = await runtime.process(found)
        commands = [
            Path(f"/proc/{pid}/cmdline").read_bytes()
            for pid in await to_thread.run_sync(companions, first, container)
        ]
    assert b"sleep\x00987\x00" in commands


async def test_without_root_it_is_exported_and_the_losses_are_named(
    docker: DockerEngine,
    image: str,
    runtime: DockerRuntime,
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    async with docker.container(image) as container:
        kinds = [ArtifactKind.PROCESSES, ArtifactKind.FILESYSTEM]
        options = CaptureOptions(kinds, name="case", subpath="", layer_seconds=60)
        to = str(bundle.folder.parent)
        result = await capture_container(f"docker://{container}", to=to, options=options)
    assert result.partial
    assert bundle.gaps() == {
        "processes": "NotPermitted",
        "details of the file system": "NotPermitted",
        "image layers": "NotPermitted",
    }
    (artifact,) = (a for a in bundle.capture.artifacts if a.name.endswith("rootfs.tar.zst"))
    assert artifact.method == "engine-export" and artifact.flags == (Flag.REDUCED_FIDELITY,)
    assert "etc/passwd" in bundle.tar(bundle.capture.containers[0].name).getnames()


async def test_an_engine_across_the_network_is_exported(
    docker: DockerEngine,
    image: str,
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with docker.container(image) as container, proxy(docker) as way:
        monkeypatch.setenv("DOCKER_HOST", way.host)
        kinds = [ArtifactKind.NETWORK, ArtifactKind.FILESYSTEM]
        options = CaptureOptions(kinds, name="case", subpath="", layer_seconds=60)
        to = str(bundle.folder.parent)
        await capture_container(f"docker://{container}", to=to, options=options)
    assert bundle.gaps() == {
        "network": "Remote",
        "details of the file system": "Remote",
        "image layers": "Remote",
        "mount /etc/hosts": "Remote",
        "mount /etc/hostname": "Remote",
        "mount /etc/resolv.conf": "Remote",
    }


async def test_exec_sessions_that_are_too_many_or_over_are_counted(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/exec/0/json"):
            return web.json_response({"message": "No such exec instance"}, status=404)
        if "/exec/" in request.path:
            return web.json_response({"ID": "4f2a", "Running": False})
        return web.json_response({"ExecIDs": [str(number) for number in range(MAX_EXECS + 2)]})

    container = ContainerInfo("docker://1", "web", "", "", "running", None, (), b"{}")
    async with odd_engine(tmp_path, answer) as runtime:
        told = await runtime.runtime_processes(container)
    assert (len(told.execs), told.omitted) == (MAX_EXECS - 1, 3)
