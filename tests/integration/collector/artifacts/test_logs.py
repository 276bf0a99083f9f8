"""Logs come home as the node has them, whatever the engine makes of them."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from collector.docker.runtime import DockerRuntime, open_docker
from collector.files.logfiles import MAX_FILES
from collector.local import CaptureOptions, capture_container
from collector.runtimes.opening import open_runtime
from collector.runtimes.runtime import LogStream
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import Flag
from lab.containerd import Containerd
from lab.docker import DockerEngine
from tests.integration.collector.conftest import Bundle
from tests.integration.collector.proxy import proxy
from tests.integration.collector.test_preopen import attempt

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="read from the node by root only")

COUNT = ("/bin/sh", "-c", "i=0; while [ $i -lt 50 ]; do echo line $i; i=$((i+1)); done")
SPEAK = ("/bin/sh", "-c", "echo out; echo err >&2; echo again")


async def collect(bundle: Bundle, reference: str) -> bool:
    """Capture the logs into `bundle`; return whether something is missing."""
    options = CaptureOptions(
        [ArtifactKind.LOGS], name=bundle.folder.name, subpath="", layer_seconds=60
    )
    return (
        await capture_container(reference, to=str(bundle.folder.parent), options=options)
    ).partial


async def ended(docker: DockerEngine, image: str, command: tuple[str, ...], **options: Any) -> str:
    """Run a container to its end."""
    container = await docker.run(image, command, **options)
    await docker.wait(container)
    return container


def stored(bundle: Bundle) -> dict[str, bytes]:
    """Return the logs in the bundle by name."""
    folders = (bundle.folder / "containers").glob("*/logs")
    return {file.name: file.read_bytes() for folder in folders for file in folder.iterdir()}


def texts(log: bytes) -> list[str]:
    return [json.loads(line.strip(b"\0"))["log"] for line in log.splitlines()]


async def log_path(docker: DockerEngine, container: str) -> Path:
    return Path((await docker.inspect(container))["LogPath"])


async def test_a_run_of_nuls_cuts_nothing_and_is_flagged(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    container = await ended(docker, image, COUNT)
    path = await log_path(docker, container)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:20]) + b"\0" * 4096 + b"".join(lines[20:]))
    whole = path.read_bytes()
    assert not await collect(bundle, f"docker://{container}")
    await docker.remove(container)
    assert stored(bundle) == {"json-file.log": whole}
    assert texts(whole) == [f"line {number}\n" for number in range(50)]
    (artifact,) = (a for a in bundle.capture.artifacts if a.container)
    assert (artifact.method, artifact.flags) == ("file", (Flag.RENDERING_DIFFERS,))
    assert "own answer" in artifact.remarks[0].message and not bundle.gaps()


async def test_a_line_that_is_longer_than_the_engines_buffer_is_whole(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    command = ("/bin/sh", "-c", "head -c 50000 /dev/zero | tr '\\0' x; echo; printf end")
    container = await ended(docker, image, command)
    assert not await collect(bundle, f"docker://{container}")
    await docker.remove(container)
    assert "".join(texts(stored(bundle)["json-file.log"])) == "x" * 50_000 + "\nend"
    assert not any(a.flags for a in bundle.capture.artifacts)


@pytest.mark.parametrize("terminal", [False, True])
async def test_engine_and_file_agree_on_an_ordinary_log(
    terminal: bool, docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    container = await ended(docker, image, SPEAK, Tty=terminal)
    whole = (await log_path(docker, container)).read_bytes()
    assert not await collect(bundle, f"docker://{container}")
    await docker.remove(container)
    assert stored(bundle) == {"json-file.log": whole} and whole
    assert not any(a.flags for a in bundle.capture.artifacts)


async def test_rotated_logs_come_too(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    config = {"max-size": "4k", "max-file": "3", "compress": "true"}
    container = await docker.create(
        image,
        ("/bin/sh", "-c", "i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); done"),
        HostConfig={"NetworkMode": "none", "LogConfig": {"Type": "json-file", "Config": config}},
    )
    await docker.start(container)
    await docker.wait(container)
    await collect(bundle, f"docker://{container}")
    await docker.remove(container)
    found = stored(bundle)
    assert {"json-file.log", "json-file.log.1"} <= {name.removesuffix(".gz") for name in found}
    current, *_ = (data for name, data in found.items() if name == "json-file.log")
    assert texts(current)[-1] == "line 99\n"
    older = found.get("json-file.log.1") or gzip.decompress(found["json-file.log.1.gz"])
    assert texts(older)[-1] < texts(current)[0]


async def test_the_files_of_the_driver_local(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    host = {"NetworkMode": "none", "LogConfig": {"Type": "local"}}
    container = await ended(docker, image, SPEAK, HostConfig=host)
    assert not await collect(bundle, f"docker://{container}")
    await docker.remove(container)
    (data,) = (data for name, data in stored(bundle).items() if name == "local.log")
    assert b"again" in data


async def test_what_the_engine_keeps_of_a_log_that_goes_elsewhere(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    config = {"syslog-address": "udp://127.0.0.1:9"}
    host = {"NetworkMode": "none", "LogConfig": {"Type": "syslog", "Config": config}}
    container = await ended(docker, image, SPEAK, HostConfig=host)
    assert not await collect(bundle, f"docker://{container}")
    await docker.remove(container)
    assert b"again" in stored(bundle)["cached.log"]


async def test_without_a_file_the_engine_is_asked(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    config = {"syslog-address": "udp://127.0.0.1:9", "cache-disabled": "true"}
    host = {"NetworkMode": "none", "LogConfig": {"Type": "syslog", "Config": config}}
    container = await ended(docker, image, SPEAK, HostConfig=host)
    assert await collect(bundle, f"docker://{container}")
    await docker.remove(container)
    assert bundle.gaps() == {
        "logs, stdout": "NotSupported",
        "logs, stderr": "NotSupported",
        "details of the logs": "NotSupported",
    }


async def test_a_driver_that_keeps_nothing_has_no_log(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    host = {"NetworkMode": "none", "LogConfig": {"Type": "none"}}
    container = await ended(docker, image, SPEAK, HostConfig=host)
    assert not await collect(bundle, f"docker://{container}")
    await docker.remove(container)
    assert bundle.gaps() == {"logs": "NoLog"} and not stored(bundle)


@pytest.mark.parametrize("target", ["/etc/passwd", "", "/dev/zero"])
async def test_a_log_that_was_replaced_or_removed_is_told(
    target: str, docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    container = await ended(docker, image, SPEAK)
    path = await log_path(docker, container)
    path.unlink()
    if target:
        path.symlink_to(target)
    assert await collect(bundle, f"docker://{container}")
    await docker.remove(container)
    assert bundle.gaps() == {"logs, json-file.log": "Unreadable" if target else "Gone"}
    assert not stored(bundle)


async def test_a_remote_engine_is_asked_and_that_is_told(
    docker: DockerEngine, image: str, bundle: Bundle, use_env: Callable[[Mapping[str, str]], None]
) -> None:
    container = await ended(docker, image, SPEAK)
    async with proxy(docker) as way:
        use_env({"DOCKER_HOST": way.host})
        assert not await collect(bundle, f"docker://{container}")
    await docker.remove(container)
    assert bundle.gaps() == {"details of the logs": "Remote"}
    found = stored(bundle)
    out = [line.split(b" ", 1) for line in found["stdout.log"].splitlines()]
    ((when, text),) = (line.split(b" ", 1) for line in found["stderr.log"].splitlines())
    assert [line[1] for line in out] == [b"out", b"again"] and text == b"err"
    assert when[10:11] == b"T" and when.endswith(b"Z")
    (flags,) = {a.flags for a in bundle.capture.artifacts if a.container}
    assert flags == (Flag.REDUCED_FIDELITY,)


async def test_a_log_that_goes_on_forever_ends_by_itself(docker: DockerEngine, image: str) -> None:
    forever = ("/bin/sh", "-c", "while :; do echo line; done")
    async with docker.container(image, forever) as container:
        async with proxy(docker) as way, open_docker(way.host) as runtime:
            found = await runtime.find(f"docker://{container}")
            async with runtime.logs(found, LogStream.STDOUT) as blocks:
                assert sum([len(block) async for block in blocks]) >= 0
        async with open_docker(docker.host) as runtime, runtime.log_files(found) as files:
            read = [len(block) async for block in files.files[-1].blocks()]
    assert sum(read) == files.files[-1].size > 0


async def test_a_containers_logs_on_containerd_former_and_rotated_ones(
    containerd: Containerd,
    cri_image: str,
    bundle: Bundle,
    use_env: Callable[[Mapping[str, str]], None],
) -> None:
    use_env(containerd.env)
    async with containerd.container(cri_image, SPEAK) as container:
        status = await containerd.status(container)
        path = Path(status.status.log_path)
        former = {"0.log.20260101-000000.gz": gzip.compress(b"a"), "0.log.20260102-000000": b"b"}
        for name, data in former.items():
            path.with_name(name).write_bytes(data)
        path.with_name("1.log").symlink_to("/etc/passwd")
        assert await collect(bundle, f"containerd://{container}")
    assert stored(bundle).keys() == {*former, "0.log"}
    assert former.items() <= stored(bundle).items()
    assert bundle.gaps() == {"logs, 1.log": "Unreadable"}


async def test_more_logs_than_are_captured(
    containerd: Containerd,
    cri_image: str,
    bundle: Bundle,
    use_env: Callable[[Mapping[str, str]], None],
) -> None:
    use_env(containerd.env)
    async with containerd.container(cri_image, SPEAK) as container:
        path = Path((await containerd.status(container)).status.log_path)
        for number in range(1, MAX_FILES + 3):
            path.with_name(f"{number}.log").touch()
        assert await collect(bundle, f"containerd://{container}")
    assert len(stored(bundle)) == MAX_FILES and "0.log" not in stored(bundle)
    (gap,) = bundle.capture.not_captured
    assert gap.reason == "TooLarge" and "newest 64 of 67" in gap.message


async def test_a_log_that_is_truncated_during_the_capture_is_flagged(
    containerd: Containerd,
    cri_image: str,
    bundle: Bundle,
    use_env: Callable[[Mapping[str, str]], None],
) -> None:
    """The runtime's own process truncates nothing; whoever may write on the node does."""
    use_env(containerd.env)
    async with containerd.container(cri_image, SPEAK) as container:
        path = Path((await containerd.status(container)).status.log_path)
        path.write_bytes(b"x" * 1000)
        reference, kinds = f"containerd://{container}", [ArtifactKind.LOGS]
        async with (
            open_runtime("containerd", reference) as runtime,
            attempt(runtime, bundle, reference, kinds=kinds) as under_way,
        ):
            os.truncate(path, 400)
            await under_way.capture_all()
    (artifact,) = (a for a in bundle.capture.artifacts if a.container)
    assert artifact.flags == (Flag.CHANGED_WHILE_READ,) and artifact.size == 400
    (gap,) = bundle.capture.not_captured
    assert gap.reason == "Truncated" and "400 of 1000 bytes" in gap.message
