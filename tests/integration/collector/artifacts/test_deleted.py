"""Files that only processes of a real container still hold come home, byte for byte."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard
from anyio import to_thread

from collector.capture import CaptureResult
from collector.docker.runtime import DockerRuntime
from collector.local import CaptureOptions, capture_container
from forensics_core.api.order import ArtifactKind
from lab.docker import DockerEngine
from tests.integration.collector.conftest import Bundle
from tests.integration.collector.mounting import FORENSICS, forensics, gap

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="read from the node by root only")

INDEX = "deleted.index.jsonl.zst"
READY = "; while ! [ -e /ready ]; do sleep 0.1; done"
PROGRAM = """
    mkdir /tmp/.x; cp /bin/busybox /tmp/.x/sleep; echo more >> /tmp/.x/sleep
    sha256sum /tmp/.x/sleep | cut -c-64
    /tmp/.x/sleep 1000 > /dev/null 2>&1 &
    /tmp/.x/sleep 1000 > /dev/null 2>&1 &
    while [ $(ls -l /proc/[0-9]*/exe | grep -c /tmp/.x/sleep) -lt 2 ]; do sleep 0.1; done
    rm /tmp/.x/sleep
"""


async def collect(
    bundle: Bundle, container: str, *kinds: ArtifactKind, budget: int = 1024**3
) -> CaptureResult:
    options = CaptureOptions(
        [*kinds], name=bundle.folder.name, subpath="", layer_seconds=60, deleted_budget=budget
    )
    to = str(bundle.folder.parent)
    result = await capture_container(f"docker://{container}", to=to, options=options)
    assert not result.partial
    return result


def folder(bundle: Bundle) -> Path:
    (name,) = (each.name for each in bundle.capture.containers)
    return bundle.folder / "containers" / name


def archive(bundle: Bundle) -> dict[str, tuple[bytes, dict[str, Any]]]:
    """Return what is in `deleted.tar`: by name, the bytes, and what the index says of them."""
    rows = {row["path"]: row for row in map(json.loads, read(bundle, INDEX).splitlines())}
    found = {}
    with tarfile.open(fileobj=io.BytesIO(read(bundle, "deleted.tar.zst"))) as archived:
        for member in filter(tarfile.TarInfo.isreg, archived.getmembers()):
            content = archived.extractfile(member)
            assert content
            name = member.name.removeprefix("./")
            found[name] = content.read(), rows["/" + name]
    assert len(found) == len([row for row in rows.values() if row["type"] == "file"])
    return found


def read(bundle: Bundle, name: str) -> bytes:
    """Return what is packed in a file of the container."""
    packed = (folder(bundle) / name).read_bytes()
    unpacked = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
    return unpacked.read()


def rows_of(bundle: Bundle) -> dict[int, dict[str, Any]]:
    document = json.loads((folder(bundle) / "processes.json").read_bytes())
    return {row["pid"]: row for row in document["processes"]}


async def test_a_deleted_program_that_runs(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        digest = (await docker.exec(container, PROGRAM)).strip()
        await collect(bundle, container, ArtifactKind.PROCESSES)
    assert bundle.gaps() == {}
    ((name, (data, row)),) = archive(bundle).items()
    assert hashlib.sha256(data).hexdigest() == digest == row["sha256"]
    assert row["deleted"]["how"] == "deleted executable"
    assert row["deleted"]["originalPath"] == "/tmp/.x/sleep"
    pids = [holder["pid"] for holder in row["deleted"]["holders"]]
    assert len(pids) == row["deleted"]["holdersTotal"] == 2 and name == f"{pids[0]}/exe"
    assert row["inode"] and row["mode"] == "0755"
    rows = rows_of(bundle)
    for pid in pids:
        assert rows[pid]["deletedFiles"] == {"exe": name} and rows[pid]["exeSha256"] == digest
        (code,) = rows[pid]["executables"]
        assert code["path"] == "/tmp/.x/sleep (deleted)" and code["sha256"] == digest
    await see_it(bundle, f"{folder(bundle).name}:", name, data)


async def see_it(bundle: Bundle, container: str, name: str, data: bytes) -> None:
    """Read a deleted file as a user does."""
    location, pid = str(bundle.folder), name.partition("/")[0]
    assert (await forensics("verify", location)).returncode == 0
    top = await forensics("ls", location, f"{container}/")
    assert "(deleted)" in top.stdout and "not captured" in top.stdout  # only processes were
    assert pid in (await forensics("ls", location, f"{container}(deleted)")).stdout
    listed = await forensics("ls", location, f"{container}(deleted)/{pid}")
    assert listed.stdout.splitlines()[0].endswith(" exe  [deleted, was /tmp/.x/sleep]")
    everything = await forensics("ls", "-R", location, f"{container}/", "-o", "json")
    (row,) = json.loads(everything.stdout)["files"]
    assert (row["layer"], row["path"]) == ("deleted", f"/(deleted)/{name}")
    shown = await to_thread.run_sync(
        lambda: subprocess.run(
            [FORENSICS, "cat", location, f"{container}(deleted)/{name}"],
            capture_output=True,
            check=True,
        )
    )
    assert shown.stdout == data
    timeline = await forensics("timeline", location, "--format", "csv")
    assert "(deleted, was /tmp/.x/sleep)" in timeline.stdout


async def test_where_only_files_are_asked_for_a_deleted_program_is_a_gap(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        digest = (await docker.exec(container, PROGRAM)).strip()
        await collect(bundle, container, ArtifactKind.FILESYSTEM)
    found = gap(bundle, "deleted executable /tmp/.x/sleep")
    assert (found.path, found.sha256, found.requested) == ("/tmp/.x/sleep", digest, False)
    assert found.pid and found.size and found.size > 100_000
    assert "(sleep) runs it" in found.message and "1 other processes" in found.message
    assert not (folder(bundle) / "deleted.tar.zst").exists()


async def test_a_deleted_program_of_the_image(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    """The overlay still counts one name then: that in the image."""
    async with docker.container(image, ("/bin/busybox", "sleep", "1000")) as container:
        original = Path(f"/proc/{await docker.pid(container)}/exe").read_bytes()
        await docker.exec(container, "rm /bin/busybox")
        await collect(bundle, container, ArtifactKind.PROCESSES)
    ((_, (data, row)),) = archive(bundle).items()
    assert data == original and row["deleted"]["originalPath"] == "/bin/busybox"


async def test_deleted_files_that_are_open_with_their_flags_and_positions(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    command = """
        exec 7>> /tmp/log 8> "/tmp/kept (deleted)" 9> /dev/shm/posix
        echo stolen >&7; echo shared >&9; exec 6< /tmp/log; read line <&6
        rm /tmp/log /dev/shm/posix; touch /ready; sleep 1000
    """
    async with docker.container(image, ("/bin/sh", "-c", command)) as container:
        await docker.exec(container, f"true {READY}")
        pid = await docker.pid(container)
        await collect(bundle, container, ArtifactKind.PROCESSES)
    assert bundle.gaps() == {}
    found = {row["deleted"]["originalPath"]: (data, row) for data, row in archive(bundle).values()}
    assert found.keys() == {"/tmp/log", "/dev/shm/posix"}
    data, row = found["/tmp/log"]
    assert data == b"stolen\n" and row["deleted"]["holdersTotal"] == 2  # the shell, and `sleep`
    first, second, *_ = row["deleted"]["holders"]
    assert {first["place"], second["place"]} == {"fd/6", "fd/7"} and first["position"] == 7
    flags = {each["place"]: int(each["flags"], 8) for each in (first, second)}
    assert flags["fd/7"] & os.O_APPEND and flags["fd/7"] & os.O_WRONLY
    assert not flags["fd/6"] & (os.O_WRONLY | os.O_RDWR)
    assert found["/dev/shm/posix"][0] == b"shared\n"
    assert rows_of(bundle)[pid]["deletedFiles"].keys() == {"fd/6", "fd/7", "fd/9"}


async def test_a_file_that_was_replaced_while_it_runs(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    script = """
        cp /bin/busybox /tmp/sleep; cp /bin/busybox /tmp/innocent
        echo evil >> /tmp/sleep; sha256sum /tmp/sleep | cut -c-64
        /tmp/sleep 1000 > /dev/null 2>&1 &
        while ! ls -l /proc/[0-9]*/exe | grep -q /tmp/sleep; do sleep 0.1; done
        mv /tmp/innocent /tmp/sleep
    """
    async with docker.container(image) as container:
        digest = (await docker.exec(container, script)).strip()
        await collect(bundle, container, ArtifactKind.PROCESSES)
    ((_, (data, _)),) = archive(bundle).items()
    assert hashlib.sha256(data).hexdigest() == digest


async def test_what_exceeds_the_budget_is_a_gap_with_its_hash(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    command = """
        exec 7> /tmp/large 8> /tmp/small; head -c 300000 /dev/urandom >&7; echo small >&8
        cat /tmp/large | sha256sum > /digest; rm /tmp/large /tmp/small; touch /ready; sleep 1000
    """
    async with docker.container(image, ("/bin/sh", "-c", command)) as container:
        await docker.exec(container, f"true {READY}")
        digest = (await docker.exec(container, "cut -c-64 /digest")).strip()
        await collect(bundle, container, ArtifactKind.PROCESSES, budget=100_000)
    assert [data for data, _ in archive(bundle).values()] == [b"small\n"]
    assert bundle.gaps() == {"deleted file /tmp/large": "TooLarge"}
    found = gap(bundle, "deleted file /tmp/large")
    assert (found.size, found.sha256, found.requested) == (300000, digest, False)


async def test_a_budget_of_nothing_makes_each_file_a_gap(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        digest = (await docker.exec(container, PROGRAM)).strip()
        await collect(bundle, container, ArtifactKind.PROCESSES, budget=0)
    assert gap(bundle, "deleted executable /tmp/.x/sleep").sha256 == digest
    assert not (folder(bundle) / "deleted.tar.zst").exists()


async def test_a_container_without_such_files_has_no_archive_and_no_gap(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image, ("/bin/busybox", "sleep", "1000")) as container:
        await collect(bundle, container, ArtifactKind.PROCESSES)
        program = Path(f"/proc/{await docker.pid(container)}/exe").read_bytes()
    assert bundle.gaps() == {}
    assert not (folder(bundle) / "deleted.tar.zst").exists()
    (row,) = rows_of(bundle).values()
    assert row["exeSha256"] == hashlib.sha256(program).hexdigest()
    assert row["deletedFiles"] == {}
