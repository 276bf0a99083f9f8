"""What a container does while it is captured is recorded; what is too much is told."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
import zstandard
from anyio import to_thread

from collector.artifacts import filesystem
from collector.container import ContainerCapture
from collector.docker.runtime import DockerRuntime
from collector.limits import Stop
from collector.local import CaptureOptions, capture_container
from collector.recording.limits import RecordingLimits
from collector.recording.recorder import recorded
from forensics_core.api.order import ArtifactKind, Compression
from forensics_core.bundle.layout import PACKETS, RECORDING
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import BundleWriter
from forensics_core.storage.local import LocalStorage
from lab.containerd import Containerd
from lab.docker import DockerEngine
from tests.integration.collector.conftest import Bundle
from tests.integration.collector.test_command import FORENSICS, forensics

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="watched by root only")

SECONDS = 0.01
"""That a recording takes at least: here it ends with the block."""
CONNECTION = """
    until grep -qs payload /tmp/heard; do
        nc -l -p 4444 > /tmp/heard & server=$!
        until echo payload | nc 127.0.0.1 4444; do :; done
        wait $server
    done
"""
"""Until it was heard: a server with nothing to read may hang up before anything is sent."""
LISTENS = "until grep -q ':{:04X} ' /proc/net/tcp /proc/net/tcp6; do :; done"


def unpacked(path: Path) -> bytes:
    reader = zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True)
    return reader.read()


def rows(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.rglob(RECORDING)
    return [json.loads(line) for line in unpacked(path).splitlines()]


def of(found: Iterable[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [row for row in found if row["event"] == event]


async def capture_of(runtime: DockerRuntime, container: str, bundle: Bundle) -> ContainerCapture:
    found = await runtime.find(f"docker://{container}")
    writer = BundleWriter(LocalStorage(bundle.folder))
    deadline = anyio.current_time() + 600
    return ContainerCapture("web", found, runtime, writer, Compression.ZSTD, deadline, stop=Stop())


@asynccontextmanager
async def recording(
    runtime: DockerRuntime, container: str, bundle: Bundle, limits: RecordingLimits | None = None
) -> AsyncIterator[ContainerCapture]:
    capture = await capture_of(runtime, container, bundle)
    async with recorded([capture], SECONDS, limits):
        yield capture


ALWAYS = {"recording, between two looks": "NotVisible"}


def gaps(capture: ContainerCapture) -> dict[str, str]:
    return {gap.what: gap.reason for gap in capture.bundle.not_captured}


async def test_an_exec_and_a_write_within_the_window_are_recorded(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        await docker.exec(container, "echo early > /tmp/early; cp /bin/busybox /tmp/tool")
        async with recording(runtime, container, bundle) as capture:
            await docker.exec(
                container, "echo plan > /tmp/plan; ls /srv; /bin/busybox sleep 1000 &"
            )
    found = rows(bundle.folder)
    assert (found[0]["event"], found[-1]["event"]) == ("began", "ended")
    assert (found[0]["files"], found[0]["processes"]) == ("fanotify", "connector")
    assert found[-1]["lost"] == {} and found[-1]["events"] == len(found) - 2
    (write,) = of(found, "write")
    assert write["path"] == "/tmp/plan" and "outside" not in write
    assert "/tmp/plan" in {row["path"] for row in of(found, "closeWrite")}
    commands = [row.get("cmdline") for row in of(found, "exec")]
    assert ["/bin/busybox", "sleep", "1000"] in commands
    assert "/bin/busybox" in {row["path"] for row in of(found, "openExec")}
    forked = {row["pid"] for row in of(found, "fork")}
    assert forked & {row["pid"] for row in of(found, "exit")}
    times = [row["monotonic"] for row in found]
    assert times == sorted(times) and found[0]["time"].endswith("Z")
    assert gaps(capture) == ALWAYS


async def test_what_the_collector_reads_is_not_recorded_as_the_containers(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with (
        docker.container(image, ("/bin/sleep", "1000")) as container,
        recording(runtime, container, bundle) as capture,
    ):
        await filesystem.collect(capture)
    assert [row["event"] for row in rows(bundle.folder)] == ["began", "ended"]


async def test_a_connection_and_its_packets_are_recorded(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle, tmp_path: Path
) -> None:
    async with (
        docker.container(image) as container,
        recording(runtime, container, bundle) as capture,
    ):
        await docker.exec(container, CONNECTION)
    (path,) = bundle.folder.rglob(PACKETS)
    found = rows(bundle.folder)
    assert list(found[0]["packets"].values()) == [f"containers/web/{PACKETS}"]
    assert found[-1]["packets"] >= 6
    assert b"payload\n" in unpacked(path)
    connections = [row for row in found if row["event"].startswith("socket")]
    ends = {(row["event"], row[end]["port"]) for row in connections for end in ("local", "remote")}
    assert ("socketClosed", 4444) in ends
    (artifact,) = [one for one in capture.bundle.artifacts if one.name.endswith(PACKETS)]
    assert artifact.kind is ArtifactKind.NETWORK and artifact.method == "recorder"


@pytest.mark.skipif(not shutil.which("tshark"), reason="needs tshark")
async def test_packets_are_read_by_tshark_and_capinfos(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle, tmp_path: Path
) -> None:
    async with docker.container(image) as container, recording(runtime, container, bundle):
        await docker.exec(container, CONNECTION)
    (path,) = bundle.folder.rglob(PACKETS)
    plain = tmp_path / "packets.pcapng"
    plain.write_bytes(unpacked(path))
    # Not `data`: by the client's port, which is any, some protocol may take the bytes for its own.
    shown = await _run("tshark", "-r", str(plain), "-T", "fields", "-e", "tcp.payload")
    assert b"payload\n".hex() in shown.split()
    told = await _run("capinfos", "-c", "-E", str(plain))
    assert f"{rows(bundle.folder)[-1]['packets']}" in told and "Ethernet" in told


async def _run(*command: str) -> str:
    run = await anyio.run_process(command)
    return run.stdout.decode()


async def test_a_socket_that_a_process_listens_on_is_recorded_with_the_process(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        capture = await capture_of(runtime, container, bundle)
        async with recorded([capture], SECONDS):
            await docker.exec_detached(container, "sh", "-c", "nc -l -p 4444")
            await docker.exec(container, LISTENS.format(4444))
    (opened,) = of(rows(bundle.folder), "socketOpened")
    assert opened["state"] == "LISTEN" and opened["local"]["port"] == 4444 and opened["pids"]


async def test_of_the_nodes_own_network_there_are_no_packets_and_only_the_containers_sockets(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image, HostConfig={"NetworkMode": "host"}) as container:
        capture = await capture_of(runtime, container, bundle)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with socket.socket() as ours:  # until after the recording
            async with recorded([capture], SECONDS):
                ours.bind(("127.0.0.1", 0))
                ours.listen()
                await docker.exec_detached(container, "nc", "-l", "-p", f"{port}")
                await docker.exec(container, LISTENS.format(port))
    opened = of(rows(bundle.folder), "socketOpened")
    assert [row["local"]["port"] for row in opened] == [port]
    assert gaps(capture)["recording, packets"] == "NotSupported"


async def test_packets_of_a_shared_network_are_recorded_once(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        first = await capture_of(runtime, container, bundle)
        second = await capture_of(runtime, container, bundle)
        second.name = "side"
        async with recorded([first, second], SECONDS):
            await docker.exec(container, "true")
    (packets,) = bundle.folder.rglob(PACKETS)
    for name in ("web", "side"):
        begun = rows(bundle.folder / "containers" / name)[0]
        assert {*begun["packets"].values()} == {str(packets.relative_to(bundle.folder))}


async def test_writes_without_end_are_bounded_and_counted(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    flood = "i=0; while [ $i -lt 3000 ]; do : > /tmp/$i; rm /tmp/$i; i=$((i+1)); done"
    async with docker.container(image) as container:
        limits = RecordingLimits(rows=500, waiting=100, names=50)
        async with recording(runtime, container, bundle, limits) as capture:
            await docker.exec(container, flood)
    found = rows(bundle.folder)
    assert len(found) <= 502 and sum(found[-1]["lost"].values()) > 1000
    assert gaps(capture)[f"{RECORDING}, its rest"] == "TooLarge"
    (artifact,) = [one for one in capture.bundle.artifacts if one.name.endswith(RECORDING)]
    assert Flag.TRUNCATED in artifact.flags


async def test_the_same_again_and_again_is_one_row_with_a_count(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    writing = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done > /tmp/log"
    async with docker.container(image) as container, recording(runtime, container, bundle):
        await docker.exec(container, writing)
    found = of(rows(bundle.folder), "write")
    assert {row["path"] for row in found} == {"/tmp/log"} and len(found) < 200


async def test_packets_past_their_limit_are_counted(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        limits = RecordingLimits(packets=600, snaplen=64)
        async with recording(runtime, container, bundle, limits) as capture:
            await docker.exec(container, CONNECTION)
    end = rows(bundle.folder)[-1]
    assert end["packetsLost"] > 0 and end["packets"] < 6
    assert gaps(capture) == ALWAYS | {f"{PACKETS}, its rest": "TooLarge"}


async def test_files_written_while_the_archive_is_read_are_named(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    """It goes on being written, and its times are put back: tar alone would not notice."""
    busy = "while :; do echo 1 > /tmp/busy; touch -d '2020-01-01' /tmp/busy; done"
    async with (
        docker.container(image) as container,
        recording(runtime, container, bundle) as capture,
    ):
        await docker.exec(container, "echo before > /tmp/before; echo x > /dev/shm/elsewhere")
        await docker.exec_detached(container, "sh", "-c", busy)
        while "/tmp/busy" not in await docker.exec(container, "ls /tmp/busy || :"):
            pass
        await filesystem.collect(capture)
    (artifact,) = [one for one in capture.bundle.artifacts if "rootfs.tar" in one.name]
    assert Flag.CHANGED_WHILE_READ in artifact.flags
    assert {remark.path for remark in artifact.remarks} == {"./tmp/busy"}


async def test_a_container_without_a_process_has_nothing_to_record(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image, ("/bin/true",)) as container:
        await docker.wait(container)
        async with recording(runtime, container, bundle) as capture:
            pass
    (gap,) = capture.bundle.not_captured
    assert (gap.what, gap.reason, gap.requested) == ("recording", "NotRunning", False)
    assert not capture.bundle.artifacts


async def test_a_recording_that_is_cancelled_leaves_nothing_behind(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        with anyio.CancelScope() as scope:
            async with recording(runtime, container, bundle):
                scope.cancel()
                await anyio.sleep_forever()
    for thread in threading.enumerate():
        if thread.name in {"recording", PACKETS}:
            await to_thread.run_sync(thread.join)
    assert not await to_thread.run_sync(watching)
    assert not list(bundle.folder.rglob("*.zst"))


def watching() -> list[str]:
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(str(link.readlink()))
    return [name for name in found if "fanotify" in name]


async def test_a_capture_that_is_told_to_end_ends_its_recording(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        capture = await capture_of(runtime, container, bundle)
        async with recorded([capture], 86400):
            capture.stop.request()
    assert rows(bundle.folder)[-1]["event"] == "ended"


async def test_a_capture_is_recorded_from_before_its_first_artifact_to_its_end(
    docker: DockerEngine, image: str, tmp_path: Path
) -> None:
    async with docker.container(image) as container:
        options = ["--record", "1", "--name", "case", "--subpath", "", "--artifact", "processes"]
        run = await forensics(
            f"docker://{container}", "--to", str(tmp_path), *options, env=docker.env
        )
    assert run.returncode == 0, run.stdout
    bundle = Bundle(tmp_path / "case")
    found = {one.name.rpartition("/")[2]: one for one in bundle.capture.artifacts}
    record = found[RECORDING]
    assert record.kind is ArtifactKind.PROCESSES
    for name, artifact in found.items():
        assert name in {PACKETS, "order.json"} or record.started_at <= artifact.started_at, name
    assert rows(bundle.folder)[-1]["monotonic"] >= 1
    verified = await anyio.run_process([FORENSICS, "verify", str(bundle.folder)], check=False)
    assert b"Extra" not in verified.stdout


WITH = "-all,+sys_ptrace,+dac_read_search,+sys_admin,+fowner"
"""What a Job has."""
JOB = ("unshare", "--pid", "--fork")
"""Where the kernel numbers processes otherwise than their /proc."""


@pytest.mark.parametrize(
    ("place", "bounds", "expected"),
    [
        ((), "-net_raw", {"recording, packets": "NotPermitted"}),
        (
            (),
            "-sys_admin",
            {"recording, writes": "NotPermitted", "recording, network": "NotPermitted"},
        ),
        (
            JOB,
            WITH,
            {
                "recording, packets": "NotPermitted",
                "recording, processes": "NotPermitted",
                "recording, who wrote": "NotVisible",
            },
        ),
    ],
)
async def test_what_rights_do_not_allow_is_a_gap_and_the_rest_is_recorded(
    place: tuple[str, ...],
    bounds: str,
    expected: dict[str, str],
    docker: DockerEngine,
    image: str,
    tmp_path: Path,
) -> None:
    # A process that stays is seen by one look at least.
    busy = ("/bin/sh", "-c", "while :; do echo 1 > /tmp/busy; sleep 20 & sleep 0.1; done")
    async with docker.container(image, busy) as container:
        command = [*place, "setpriv", f"--bounding-set={bounds}", f"--inh-caps={bounds}"]
        command += [FORENSICS, "collect", f"docker://{container}", "--record", "1"]
        command += ["--to", str(tmp_path), "--name", "case", "--subpath", "", "--artifact", "logs"]
        env = {**os.environ, **docker.env}
        run = await anyio.run_process(command, env=env, check=False, stderr=subprocess.STDOUT)
    assert run.returncode == 0, run.stdout
    gaps = Bundle(tmp_path / "case").capture.not_captured
    missing = {gap.what: gap.reason for gap in gaps if gap.what.startswith("recording")}
    assert missing == ALWAYS | expected and not any(gap.requested for gap in gaps)
    found = rows(tmp_path / "case")
    assert found[0]["processes"] == ("polling" if place else "connector")
    writes = {(row["path"], row["pid"] is None) for row in of(found, "write")}
    assert writes == (set() if bounds == "-sys_admin" else {("/tmp/busy", bool(place))})
    assert of(found, "process" if place else "exec")


async def test_a_container_of_containerd_is_recorded(
    containerd: Containerd, cri_image: str, tmp_path: Path, use_env: Any
) -> None:
    use_env(containerd.env)
    async with containerd.container(cri_image) as container:
        await capture_container(
            f"containerd://{container}",
            to=tmp_path.as_uri(),
            options=CaptureOptions(artifacts=[ArtifactKind.LOGS], record=1),
        )
    found = rows(tmp_path)
    assert found[0]["files"] == "fanotify" and of(found, "exec")
