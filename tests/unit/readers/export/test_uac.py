"""A collection as UAC makes one, and deleted files and /proc in the other layouts."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import anyio
import pytest
import zstandard
from click.testing import CliRunner, Result

from forensics_core.api.order import ArtifactKind, Compression, PodRef
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import ArtifactSpec, BundleWriter, SourceNotes
from forensics_core.cli.main import forensics
from forensics_core.storage.blocks import one
from forensics_core.storage.storage import open_destination
from tests.bundles import CONTEXT, POD, capture, context_file, of_order, replace_object
from tests.unit.readers.export.test_export import blob, images, tar

WEB = "containers/web/"
ROOTFS, MOUNTS = tar(**{"./etc/passwd": b"root"}), tar(**{"./dev/shm/x": b"memory"})
PROC = tar(**{"proc/7/cmdline": b"sleep"})
DELETED = tar(**{"7/exe": b"program"})
ARCHIVES = {"rootfs": ROOTFS, "mounts": MOUNTS, "proc": PROC, "deleted": DELETED}
FILES = {
    "containers/web/processes.json": b'{"processes": []}',
    "containers/web/network.json": b"{}",
    "containers/web/mounts.json": b"{}",
    "containers/web/inspect.json": b"{}",
    "containers/web/logs/0.log": b"2026-08-01T10:00:00Z stdout F hello\n",
    "containers/web/rootfs.index.jsonl.zst": b"",
    "containers/other/inspect.json": b"{}",
    "node/kernel.json": b"{}",
    "node/network.json": b"{}",
}


async def write(folder: Path, archives: Mapping[str, bytes], *, pod: bool = True) -> None:
    async with open_destination(str(folder)) as destination:
        async with destination.create(CONTEXT) as file:
            await file.write(POD)
            await file.commit()
        writer = BundleWriter(destination)
        packed = Compression.ZSTD
        for name, data in archives.items():
            spec = ArtifactSpec(
                f"{WEB}{name}.tar.zst", ArtifactKind.FILESYSTEM, "web", compression=packed
            )
            flags = {Flag.TRUNCATED} if name == "mounts" else set()
            await writer.add(spec, one(data), SourceNotes(flags=flags))
        for name, data in FILES.items():
            await writer.add(ArtifactSpec(name, ArtifactKind.INSPECT, "web"), one(data))
        core = ArtifactSpec(
            f"{WEB}memory/7.core.zst", ArtifactKind.MEMORY, "web", compression=packed
        )
        await writer.add(core, pieces())
        facts = {"pod": PodRef(namespace="shop", name="web-0", uid="u")} if pod else {}
        await writer.finish(of_order(capture(), **facts), [context_file()])


async def pieces() -> AsyncIterator[bytes]:
    for number in range(3):
        yield bytes([number]) * 1000


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    anyio.run(write, tmp_path / "bundle", ARCHIVES)
    return tmp_path / "bundle"


def export(bundle: Path, option: str, out: Path) -> Result:
    return CliRunner().invoke(forensics, ["export", str(bundle), option, str(out)])


def collected(folder: Path) -> dict[str, bytes]:
    (path,) = folder.glob("*.tar")
    assert path.stat().st_size % (20 * 512) == 0 and path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as archive:
        return {m.name: f.read() for m in archive if (f := archive.extractfile(m))}


def test_files_runtime_memory_and_times_are_where_uac_has_them(
    bundle: Path, tmp_path: Path
) -> None:
    result = export(bundle, "--uac", tmp_path / "uac")
    assert result.exit_code == 0, result.stderr
    assert "mounts.tar.zst was cut" in result.stderr
    found = collected(tmp_path / "uac")
    assert found["[root]/etc/passwd"] == b"root" and found["[root]/dev/shm/x"] == b"memory"
    assert found["[root]/proc/7/cmdline"] == b"sleep"
    assert found["live_response/process/proc/7/exe"] == b"program"
    assert found["live_response/process/processes.json"] == FILES[f"{WEB}processes.json"]
    assert found["memory_dump/7.core"] == b"".join(bytes([each]) * 1000 for each in range(3))
    assert found["live_response/containers/logs/0.log"].endswith(b"hello\n")
    assert found["live_response/containers/context/pod.yaml"] == POD
    others = {"network/network.json", "storage/mounts.json", "containers/inspect.json"}
    others |= {"network/node/network.json", "system/node/kernel.json"}
    assert {f"live_response/{name}" for name in others} <= found.keys()
    assert not any("index" in name or "other" in name for name in found)
    assert b"[web] (capture) " in found["bodyfile/bodyfile.txt"]


def test_the_log_says_what_is_in_it_and_how_to_know_it_again(bundle: Path, tmp_path: Path) -> None:
    assert export(bundle, "--uac", tmp_path / "uac").exit_code == 0
    (path,) = (tmp_path / "uac").glob("*.tar")
    assert path.name == "uac-web-0-web-linux-20260801101112.tar"
    log = path.with_suffix(".log").read_text()
    assert hashlib.sha256(path.read_bytes()).hexdigest() in log
    manifest = hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()
    assert f"SHA-256 of its manifest: {manifest}" in log and "Hostname: web-0-web" in log
    assert f"{WEB}mounts.tar.zst, which was cut: {hashlib.sha256(MOUNTS).hexdigest()}" in log
    inside = collected(tmp_path / "uac")["uac.log"].decode()
    assert log.startswith(inside)
    again = export(bundle, "--uac", tmp_path / "uac")
    assert again.exit_code == 1 and "is not empty" in again.stderr


def test_a_capture_by_hand_is_called_by_its_container(tmp_path: Path) -> None:
    async def by_hand() -> None:
        await write(tmp_path / "bundle", {"rootfs": ROOTFS}, pod=False)

    anyio.run(by_hand)
    assert export(tmp_path / "bundle", "--uac", tmp_path / "uac").exit_code == 0
    (path,) = (tmp_path / "uac").glob("*.tar")
    assert path.name == "uac-web-linux-20260801101112.tar"


def test_nothing_is_kept_of_what_is_not_genuine_and_the_log_names_it(
    bundle: Path, tmp_path: Path
) -> None:
    (bundle / WEB / "rootfs.tar.zst").write_bytes(zstandard.compress(ROOTFS + b"x"))
    (bundle / WEB / "network.json").write_bytes(b"{ }")
    result = export(bundle, "--uac", tmp_path / "uac")
    assert result.exit_code == 3 and f"Left out: {WEB}rootfs.tar.zst" in result.stderr
    found = collected(tmp_path / "uac")
    assert "[root]/etc/passwd" not in found and "live_response/network/network.json" not in found
    assert found["[root]/dev/shm/x"] == b"memory"
    assert b"Left out: containers/web/network.json is not what" in found["uac.log"]


def test_members_that_lead_out_of_the_archive_are_in_no_collection(tmp_path: Path) -> None:
    anyio.run(write, tmp_path / "bundle", {"rootfs": tar(**{"a/../../x": b""}), "mounts": MOUNTS})
    assert export(tmp_path / "bundle", "--uac", tmp_path / "uac").exit_code == 3
    assert not any(".." in name for name in collected(tmp_path / "uac"))


def test_sources_of_the_bodyfile_that_cannot_be_read_are_named_in_the_log(
    bundle: Path, tmp_path: Path
) -> None:
    replace_object(bundle, f"{WEB}processes.json", b"no JSON")
    assert export(bundle, "--uac", tmp_path / "uac").exit_code == 0
    log = collected(tmp_path / "uac")["uac.log"]
    assert b"Not in the bodyfile: containers/web/processes.json" in log


def test_the_plain_tar_has_file_system_mounts_and_proc_in_this_order(
    bundle: Path, tmp_path: Path
) -> None:
    assert export(bundle, "--tar", tmp_path / "web.tar").exit_code == 0
    with tarfile.open(tmp_path / "web.tar") as archive:
        assert archive.getnames() == ["./etc/passwd", "./dev/shm/x", "proc/7/cmdline"]


def test_deleted_files_are_an_image_of_their_own_behind_the_containers(
    bundle: Path, tmp_path: Path
) -> None:
    layout = tmp_path / "oci"
    assert export(bundle, "--oci", layout).exit_code == 0
    rows = json.loads((layout / "index.json").read_bytes())["manifests"]
    assert [list(row["annotations"].values()) for row in rows] == [["web"], ["web:deleted"]]
    own, deleted = images(layout)
    assert [len(own["layers"]), len(deleted["layers"])] == [2, 1]
    (layer,) = deleted["layers"]
    assert blob(layout, layer["digest"]).samefile(bundle / WEB / "deleted.tar.zst")
    config = json.loads(blob(layout, deleted["config"]["digest"]).read_bytes())
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(DELETED).hexdigest()}"]


def test_an_image_of_deleted_files_that_are_not_genuine_is_left_out(
    bundle: Path, tmp_path: Path
) -> None:
    (bundle / WEB / "deleted.tar.zst").write_bytes(zstandard.compress(DELETED + b"x"))
    result = export(bundle, "--oci", tmp_path / "oci")
    assert result.exit_code == 3 and "deleted.tar.zst" in result.stderr
    assert len(images(tmp_path / "oci")) == 1
