"""The layouts that other tools open: an OCI image, a plain tar, the old tool's names."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import zstandard
from click.testing import CliRunner, Result

from forensics_core.api.order import ArtifactKind, Compression, PodRef
from forensics_core.bundle.manifest import Container, Flag
from forensics_core.bundle.writer import ArtifactSpec, BundleWriter, SourceNotes
from forensics_core.cli.main import forensics
from forensics_core.errors import VerificationError
from forensics_core.readers.export.archives import BLOCKING, RECORD, without_end
from forensics_core.storage.blocks import one
from forensics_core.storage.storage import open_destination
from tests.bundles import artifact, capture, edit_manifest, of_order, replace_object

WEB = "containers/web/"
CHANGES = {
    "method": "x",
    "changes": [{"kind": "A", "path": "/tmp/\x1b\n"}, {"kind": "D", "path": "/x"}],
}


def tar(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


ROOTFS, MOUNTS = tar(passwd=b"root", zeros=bytes(3 * BLOCKING)), tar(hosts=b"127.0.0.1")


@pytest.fixture
async def bundle(tmp_path: Path) -> Path:
    async with open_destination(str(tmp_path / "bundle")) as destination:
        writer = BundleWriter(destination)
        kind = ArtifactKind.FILESYSTEM
        for name, data, flags in (("rootfs", ROOTFS, {Flag.TRUNCATED}), ("mounts", MOUNTS, set())):
            spec = ArtifactSpec(f"{WEB}{name}.tar.zst", kind, "web", compression=Compression.ZSTD)
            await writer.add(spec, one(data), SourceNotes(flags=flags))
        await writer.add(
            ArtifactSpec(f"{WEB}inspect.json", ArtifactKind.INSPECT, "web"), one(b"{}")
        )
        changes = json.dumps(CHANGES).encode()
        await writer.add(ArtifactSpec(f"{WEB}diff.json", ArtifactKind.DIFF, "web"), one(changes))
        pod = PodRef(namespace="shop", name="web-0", uid="u")
        await writer.finish(of_order(capture(), pod=pod))
    return tmp_path / "bundle"


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(forensics, ["export", *(str(one) for one in arguments)])


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {
            each.name: file.read()
            for each in archive
            if (file := archive.extractfile(each)) is not None
        }


def blob(folder: Path, digest: str) -> Path:
    return folder / "blobs" / digest.replace(":", "/")


def test_a_plain_tar_has_the_members_of_all_archives(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.tar"
    result = invoke(bundle, "--tar", target)
    assert result.exit_code == 0 and "rootfs.tar.zst was cut" in result.stderr
    assert members(target.read_bytes()) == members(ROOTFS) | members(MOUNTS)
    assert target.stat().st_size % BLOCKING == 0
    listed = subprocess.run(["tar", "tf", target], capture_output=True, check=True, text=True)
    assert listed.stdout.split() == ["passwd", "zeros", "hosts"] and not listed.stderr


def test_a_plain_tar_can_go_through_a_pipe(bundle: Path) -> None:
    assert members(invoke(bundle, "--tar", "-").stdout_bytes) == members(ROOTFS) | members(MOUNTS)


@pytest.mark.parametrize("size", [1, 511, 512, 700, 10_240])
async def test_the_end_is_found_however_the_archive_is_cut(size: int) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(ROOTFS), size):
            yield ROOTFS[start : start + size]

    found = b"".join([piece async for piece in without_end(pieces(), "rootfs.tar")])
    assert ROOTFS.startswith(found) and not ROOTFS[len(found) :].strip(b"\0")
    assert len(found) == 3 * RECORD + 3 * BLOCKING


async def test_an_archive_that_was_cut_in_a_record_is_filled_up() -> None:
    async def piece() -> AsyncIterator[bytes]:
        yield ROOTFS[: RECORD + 100]

    found = [len(each) async for each in without_end(piece(), "rootfs.tar")]
    assert found == [RECORD, RECORD]


async def test_what_is_no_archive_has_no_end() -> None:
    async def piece() -> AsyncIterator[bytes]:
        yield b"x" * RECORD

    with pytest.raises(VerificationError, match="is not a tar archive"):
        [each async for each in without_end(piece(), "rootfs.tar")]


def test_an_oci_layout_whose_layers_are_the_archives(bundle: Path, tmp_path: Path) -> None:
    layout = tmp_path / "oci"
    assert invoke(bundle, "--oci", layout).exit_code == 0
    (row,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    assert row["annotations"] == {"org.opencontainers.image.ref.name": "web"}
    manifest = json.loads(blob(layout, row["digest"]).read_bytes())
    config = json.loads(blob(layout, manifest["config"]["digest"]).read_bytes())
    layers = [blob(layout, each["digest"]) for each in manifest["layers"]]
    assert [each["mediaType"][-8:] for each in manifest["layers"]] == ["tar+zstd"] * 2
    assert [each.samefile(bundle / WEB / name) for each, name in zip(
        layers, ("rootfs.tar.zst", "mounts.tar.zst"), strict=True
    )] == [True, True]  # fmt: skip
    diff_ids = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in (ROOTFS, MOUNTS)]
    assert config["rootfs"]["diff_ids"] == diff_ids
    for path in (layout / "blobs/sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def test_an_archive_that_is_not_genuine_is_left_out_and_the_rest_exported(
    bundle: Path, tmp_path: Path
) -> None:
    (bundle / WEB / "rootfs.tar.zst").write_bytes(zstandard.compress(ROOTFS + b"x"))
    for option in ("--oci", "--tar", "--seed"):
        result = invoke(bundle, option, tmp_path / f"out{option}")
        assert result.exit_code == 3 and result.stdout == ""
        assert f"Left out: {WEB}rootfs.tar.zst" in result.stderr
        assert result.stderr.splitlines()[-1].startswith("Error: 1 object of the bundle could not")
    (exported,) = (tmp_path / "out--seed").glob("*.tar")
    for file in (tmp_path / "out--tar", exported):
        assert members(file.read_bytes()) == members(MOUNTS)
        assert file.stat().st_size % BLOCKING == 0 and file.stat().st_mode & 0o777 == 0o600
    assert len(list((tmp_path / "out--seed").iterdir())) == 3
    (image,) = images(tmp_path / "out--oci")
    assert [each["size"] for each in image["layers"]] == [
        (bundle / WEB / "mounts.tar.zst").stat().st_size
    ]


@pytest.mark.parametrize("spoil", ["missing", "no archive", "stored only", "longer"])
def test_a_layer_that_cannot_be_relied_on_is_in_no_image(
    bundle: Path, tmp_path: Path, spoil: str
) -> None:
    """Also where a node lied: the bytes are as its manifest says, and their content is not."""
    name = WEB + "mounts.tar.zst"
    if spoil == "missing":
        (bundle / name).unlink()
    else:
        other = {"no archive": b"x" * 2048, "stored only": MOUNTS, "longer": MOUNTS + b"x"}
        replace_object(bundle, name, zstandard.compress(other[spoil] + b"y"))
        if spoil == "no archive":
            edit_manifest(bundle, partial(promise, name=name, data=other[spoil] + b"y"))
    result = invoke(bundle, "--oci", tmp_path / "oci")
    assert result.exit_code == 3 and name in result.stderr
    (image,) = images(tmp_path / "oci")
    assert len(image["layers"]) == 1
    blobs = [path.read_bytes() for path in (tmp_path / "oci/blobs/sha256").iterdir()]
    assert len(blobs) == 3, "the layer, the configuration, the manifest"


def promise(document: dict[str, Any], name: str, data: bytes) -> None:
    row = artifact(document, name)
    row.update(originalSize=len(data), originalSha256=hashlib.sha256(data).hexdigest())


def images(layout: Path) -> list[dict[str, Any]]:
    rows = json.loads((layout / "index.json").read_bytes())["manifests"]
    return [json.loads(blob(layout, row["digest"]).read_bytes()) for row in rows]


def test_other_containers_are_exported_though_one_is_not_genuine(tmp_path: Path) -> None:
    async def write() -> None:
        names = ("a", "b", "c", "none")
        async with open_destination(str(tmp_path / "bundle")) as destination:
            writer = BundleWriter(destination)
            for name in names[:3]:
                file = f"containers/{name}/rootfs.tar"
                spec = ArtifactSpec(file, ArtifactKind.FILESYSTEM, name)
                await writer.add(spec, one(tar(**{name: b"x"})))
            rows = tuple(Container(name=name, container_id=f"docker://{name}") for name in names)
            await writer.finish(capture().model_copy(update={"containers": rows}))

    anyio.run(write)
    (tmp_path / "bundle/containers/a/rootfs.tar").write_bytes(tar(b=b"y"))
    for option in ("--oci", "--seed"):
        result = invoke(tmp_path / "bundle", option, tmp_path / option)
        assert result.exit_code == 3 and "Left out: containers/a/rootfs.tar" in result.stderr
        assert "The file system of 'none' was not captured" in result.stderr
    index = json.loads((tmp_path / "--oci/index.json").read_bytes())
    assert [list(row["annotations"].values()) for row in index["manifests"]] == [["b"], ["c"]]
    found = {path.name: members(path.read_bytes()) for path in (tmp_path / "--seed").glob("*.tar")}
    assert found == {f"{name}-{name}-export.tar": {name: b"x"} for name in ("b", "c")}


@pytest.mark.parametrize("option", ["--oci", "--tar", "--seed"])
@pytest.mark.parametrize("kind", ["name", "link", "long"])
def test_members_that_lead_out_of_the_archive_are_never_exported(
    tmp_path: Path, kind: str, option: str
) -> None:
    member = tarfile.TarInfo("etc/../../x" if kind == "name" else f"{'d/' * 60}../../x")
    if kind == "link":
        member.name, member.type, member.linkname = "x", tarfile.LNKTYPE, "../../etc/shadow"
    archives = {"rootfs": hostile([member]), "mounts": MOUNTS}
    anyio.run(write_archives, tmp_path / "bundle", archives)
    out = tmp_path / "out"
    result = invoke(tmp_path / "bundle", option, out)
    assert result.exit_code == 3 and "leads out of it" in result.stderr
    assert b"../" not in b"".join(path.read_bytes() for path in files_below(out))


def files_below(path: Path) -> list[Path]:
    return [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]


def test_devices_links_and_sparse_bombs_are_exported_as_they_are(tmp_path: Path) -> None:
    """They are evidence. Nothing is made of them here: no device, no link, no 8 EiB of zeros."""
    device = tarfile.TarInfo("dev/sda")
    device.type, device.devmajor, device.devminor = tarfile.BLKTYPE, 8, 0
    link = tarfile.TarInfo("out")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    through, absolute = tarfile.TarInfo("out/passwd"), tarfile.TarInfo("/etc/passwd")
    bomb = tarfile.TarInfo("bomb")
    bomb.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "bomb",
        "GNU.sparse.realsize": str(2**63 - 1),
    }
    bomb.size = 512
    data = hostile([device, link, through, absolute, bomb], b"0\n".ljust(512, b"\0"))
    anyio.run(write_archives, tmp_path / "bundle", {"rootfs": data})
    for option in ("--oci", "--tar", "--seed"):
        result = invoke(tmp_path / "bundle", option, tmp_path / option)
        assert result.exit_code == 0, result.stderr
        assert sum(path.stat().st_size for path in files_below(tmp_path / option)) < 64 * 1024
    with tarfile.open(tmp_path / "--tar") as archive:
        assert [each.name for each in archive.getmembers()][:3] == ["dev/sda", "out", "out/passwd"]
    assert not any(path.is_symlink() or path.is_block_device() for path in tmp_path.rglob("*"))


def hostile(rows: list[tarfile.TarInfo], content: bytes = b"") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in rows:
            archive.addfile(member, io.BytesIO(content) if member.size else None)
    return out.getvalue()


async def write_archives(folder: Path, archives: dict[str, bytes]) -> None:
    async with open_destination(str(folder)) as destination:
        writer = BundleWriter(destination)
        for name, data in archives.items():
            file = f"{WEB}{name}.tar.zst"
            spec = ArtifactSpec(file, ArtifactKind.FILESYSTEM, "web", compression=Compression.ZSTD)
            await writer.add(spec, one(data))
        await writer.finish(capture())


def test_the_old_tools_names(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "seed"
    result = invoke(bundle, "--seed", folder)
    assert (
        result.exit_code == 0 and "web-0.yaml: context/pod.yaml was not captured" in result.stderr
    )
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["web-0-4f2a-diff.txt", "web-0-4f2a-export.tar", "web-0-4f2a-inspect.json"]
    assert (folder / names[0]).read_text() == "A /tmp/\\x1b\\n\nD /x\n"
    again = invoke(bundle, "--seed", folder)
    assert again.exit_code == 1 and "is not empty" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        ([], 2, "Name one layout"),
        (["--oci", "x", "--seed", "y"], 2, "Name one layout"),
        (["--tar", "x", "-c", "nobody"], 2, "no container 'nobody'"),
    ],
)
def test_wrong_usage(bundle: Path, arguments: list[str], code: int, why: str) -> None:
    result = invoke(bundle, *arguments)
    assert result.exit_code == code and why in result.stderr


@pytest.mark.parametrize("option", ["--oci", "--uac", "--seed"])
def test_a_folder_in_use_is_left_alone(bundle: Path, tmp_path: Path, option: str) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used/file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, why in (("used", "is not empty"), ("used/file", "file"), ("link", "is no folder")):
        result = invoke(bundle, option, tmp_path / name)
        assert result.exit_code in {1, 2} and why in result.stderr
    assert [*(tmp_path / "used").iterdir()] == [tmp_path / "used/file"]
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("option", ["--oci", "--uac", "--seed", "--tar"])
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
def test_what_is_exported_is_its_owners_alone_whatever_the_umask(
    bundle: Path, tmp_path: Path, option: str, mask: int
) -> None:
    out = tmp_path / "out"
    before = os.umask(mask)
    try:
        assert invoke(bundle, option, out).exit_code == 0
    finally:
        os.umask(before)
    modes = {path.is_dir(): path.stat().st_mode & 0o777 for path in (out, *out.rglob("*"))}
    assert modes in ({True: 0o700, False: 0o600}, {False: 0o600})


@pytest.mark.parametrize("option", ["--oci", "--seed", "--uac", "--tar"])
@pytest.mark.parametrize("there", [True, False])
def test_nothing_half_done_is_left_where_the_disk_is_full(
    bundle: Path, tmp_path: Path, option: str, there: bool
) -> None:
    """A limit on the size of files stands for the disk."""
    out = tmp_path / "out"
    if there and option != "--tar":
        out.mkdir()
    command: list[str | Path] = [Path(sys.executable).with_name("forensics")]
    command += ["export", bundle, option, out]
    done = subprocess.run(
        ["prlimit", "--fsize=300", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "The output could not be written: File too large. Write it elsewhere." in done.stderr
    assert out.exists() is (there and option != "--tar")
    assert not out.exists() or not any(out.iterdir())


@pytest.mark.parametrize("option", ["--oci", "--seed", "--uac", "--tar"])
def test_programs_are_told_what_was_exported(bundle: Path, tmp_path: Path, option: str) -> None:
    plain = invoke(bundle, option, tmp_path / "plain")
    assert plain.stdout == "" and f"It lies in {tmp_path / 'plain'}" in plain.stderr
    (bundle / WEB / "mounts.tar.zst").write_bytes(b"x")
    result = invoke(bundle, option, tmp_path / "out", "-o", "json")
    told = json.loads(result.stdout)
    assert result.exit_code == 3 and told["written"] == str(tmp_path / "out")
    assert any("mounts.tar.zst" in line for line in told["leftOut"])
    assert option == "--seed" or told["notes"] == [
        f"{WEB}rootfs.tar.zst was cut: it does not hold all there was"
    ]
    assert bool(told["missing"]) is (option == "--seed") and told["fetched"] is None
    both = invoke(bundle, "--tar", "-", "-o", "json")
    assert both.exit_code == 2 and "cannot both be printed" in both.stderr


def test_a_layout_without_an_image_is_not_kept(bundle: Path, tmp_path: Path) -> None:
    for name in ("rootfs", "mounts"):
        (bundle / WEB / f"{name}.tar.zst").write_bytes(b"x")
    result = invoke(bundle, "--oci", tmp_path / "oci")
    assert result.exit_code == 3 and "rootfs.tar.zst is not what the manifest says" in result.stderr
    assert not (tmp_path / "oci").exists()


def test_what_was_not_captured_cannot_be_exported(bundle: Path, tmp_path: Path) -> None:
    def drop(document: dict[str, Any]) -> None:
        document["subject"] = [row for row in document["subject"] if ".tar" not in row["name"]]

    edit_manifest(bundle, drop)
    result = invoke(bundle, "--tar", tmp_path / "out.tar")
    assert result.exit_code == 1 and "file system of 'web' was not captured" in result.stderr


def test_one_tar_is_of_one_container(bundle: Path, tmp_path: Path) -> None:
    def add(document: dict[str, Any]) -> None:
        rows = document["predicate"]["containers"]
        rows.append({**rows[0], "name": "side"})

    edit_manifest(bundle, add)
    result = invoke(bundle, "--tar", tmp_path / "out.tar")
    assert result.exit_code == 2 and "Name one with -c: side, web" in result.stderr
