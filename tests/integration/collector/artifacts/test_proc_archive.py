"""The /proc of a container comes home, and other people's readers open it."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zstandard
from anyio import to_thread

from collector.local import CaptureOptions, capture_container
from forensics_core.api.order import ArtifactKind
from lab.containerd import Containerd
from lab.dissect import install_dissect, target_query, target_text
from lab.docker import DockerEngine
from tests.integration.collector.conftest import Bundle
from tests.integration.collector.mounting import forensics

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="read from the node by root only")

WORK = ("/bin/sh", "-c", "nc -l -p 4747 & export STOLEN=yes; exec sleep 4747")
PROCESSES = [ArtifactKind.PROCESSES]


@dataclass(frozen=True)
class Place:
    """A runtime with an image."""

    scheme: str
    engine: DockerEngine | Containerd
    image: str


@pytest.fixture(params=["docker", "containerd"])
def place(request: pytest.FixtureRequest, use_env: Callable[[Mapping[str, str]], None]) -> Place:
    image = {"docker": "image", "containerd": "cri_image"}[request.param]
    engine = request.getfixturevalue(request.param)
    use_env(engine.env)
    return Place(request.param, engine, request.getfixturevalue(image))


@pytest.fixture(scope="session")
def dissect() -> None:
    install_dissect()


async def collect(bundle: Bundle, place: Place, container: str) -> Path:
    """Capture the processes; return the folder of the container."""
    named = CaptureOptions(
        name=bundle.folder.name, subpath="", layer_seconds=60, artifacts=PROCESSES
    )
    reference = f"{place.scheme}://{container}"
    await capture_container(reference, to=str(bundle.folder.parent), options=named)
    return bundle.folder / "containers" / bundle.capture.containers[0].name


def plain(folder: Path) -> Path:
    """Unpack the archive, as `zstd -d` does."""
    packed = (folder / "proc.tar.zst").read_bytes()
    reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
    (folder.parent / "proc.tar").write_bytes(reader.read())
    return folder.parent / "proc.tar"


async def busy(place: Place, container: str) -> int:
    """Wait until the container listens; return its first process."""
    script = "until netstat -ltn | grep -q 4747; do sleep 0.1; done"
    await place.engine.exec(container, script)
    return await place.engine.pid(container)


async def test_dissect_reads_processes_sockets_and_environment(
    place: Place, bundle: Bundle, dissect: None
) -> None:
    async with place.engine.container(place.image, WORK) as container:
        first = await busy(place, container)
        tar = await to_thread.run_sync(plain, await collect(bundle, place, container))

    async def query(function: str) -> list[dict[str, Any]]:
        return await to_thread.run_sync(target_query, tar, function)

    processes = {row["pid"]: row for row in await query("processes")}
    commands = {row["pid"]: row["cmdline"] for row in await query("cmdline")}
    variables = {(row["pid"], row["variable"]): row["content"] for row in await query("environ")}
    sockets = [row for row in await query("sockets") if row.get("local_port") == 4747]
    netstat = await to_thread.run_sync(target_text, tar, "netstat")
    assert processes[first]["name"] == "sleep" and commands[first] == "sleep 4747"
    assert {1, processes[first]["ppid"]} <= processes.keys()
    assert variables[first, "STOLEN"] == "yes"
    assert {pid for pid, _ in variables}.isdisjoint({1, processes[first]["ppid"]})
    assert sockets[0]["name"] == "nc" and processes[sockets[0]["pid"]]["ppid"] == first
    assert f"{sockets[0]['pid']}/nc" in netstat


async def test_the_tree_is_a_proc(place: Place, bundle: Bundle) -> None:
    async with place.engine.container(place.image, WORK) as container:
        first = await busy(place, container)
        inode = Path(f"/proc/{first}/root/bin/busybox").stat().st_ino
        folder = await collect(bundle, place, container)
        rows = {
            row["pid"]: row
            for row in json.loads((folder / "processes.json").read_bytes())["processes"]
        }
        with tarfile.open(plain(folder)) as tar:
            names = set(tar.getnames())

            def content(name: str) -> bytes:
                file = tar.extractfile(f"proc/{name}")
                assert file
                return file.read()

            links = {each.name: each.linkname for each in tar if each.issym()}
            assert content(f"{first}/cmdline") == b"sleep\x004747\x00"
            assert b"btime" in content("stat") and float(content("uptime").split()[0]) > 0
            assert b"STOLEN=yes" in content(f"{first}/environ").split(b"\0")
            boot = content("sys/kernel/random/boot_id").decode()
            children = content(f"{first}/task/{first}/children").split()
            assert content("sysvipc/shm").split()[0] == b"key"
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text()
    assert {int(child) for child in children} == rows.keys() - {first}
    assert links["proc/self"] == str(first) and links["proc/net"] == "self/net"
    assert links[f"proc/{first}/exe"] == rows[first]["exe"] == "/bin/busybox"
    assert f"proc/{first}/fdinfo/0" in names and f"proc/{first}/fd/0" in links
    assert [links.get(f"proc/{pid}/net") for pid in rows if pid != first] == [f"../{first}/net"]
    assert any(area.get("inode") == inode for area in rows[first]["areas"])
    assert not [what for what in bundle.gaps() if "proc" in what]


async def test_an_exec_session_has_command_and_terminal(place: Place, bundle: Bundle) -> None:
    async with place.engine.container(place.image, WORK) as container:
        first = await busy(place, container)
        session = await place.engine.exec_detached(container, "sleep", "7474")
        folder = await collect(bundle, place, container)
    (found,) = [
        row
        for row in json.loads((folder / "execs.json").read_bytes())["execs"]
        if row["id"] == session
    ]
    rows = json.loads((folder / "processes.json").read_bytes())
    (row,) = [row for row in rows["processes"] if row["pid"] == found["pid"]]
    assert found["terminal"] and found["running"] and found["said"]
    assert found["process"]["cmdline"] == ["sleep", "7474"] == row["cmdline"]
    assert row["entered"] and row["terminal"].startswith("pts/")
    assert row["ppid"] in {each["pid"] for each in rows["ancestors"]}
    (init,) = [row for row in rows["processes"] if row["pid"] == first]
    assert not init["entered"] and init["session"] != row["session"]
    assert {"listing", "cgroup"} <= {*init["foundBy"]}


async def test_ls_and_cat_show_the_processes(place: Place, bundle: Bundle) -> None:
    async with place.engine.container(place.image, WORK) as container:
        first = await busy(place, container)
        named = CaptureOptions(name=bundle.folder.name, subpath="", layer_seconds=60)
        reference = f"{place.scheme}://{container}"
        await capture_container(reference, to=str(bundle.folder.parent), options=named)
    name = bundle.capture.containers[0].name
    listed = await forensics("ls", str(bundle.folder), f"{name}:/proc")
    shown = await forensics("cat", str(bundle.folder), f"{name}:/proc/{first}/cmdline")
    below = await forensics("ls", "-R", str(bundle.folder), f"{name}:/proc/{first}/task")
    nothing = await forensics("ls", str(bundle.folder), f"{name}:/proc/none")
    assert f"/proc/{first}/task/{first}/stat" in below.stdout and nothing.returncode == 1
    assert [str(first), "[from", "proc]"] in [
        line.split()[-3:] for line in listed.stdout.splitlines()
    ]
    assert shown.stdout == "sleep\x004747\x00"
