"""A layer's directory against the archive that it was unpacked from, without a runtime."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from collector.layers.blob import PackedSource
from collector.layers.check import LayerCheck
from collector.layers.extras import ExtrasLimits
from collector.layers.promised import ImageLayers, LayerSource, MissingArchive, PromisedLayer
from collector.layers.tarsplit import TarSplit, crc64
from collector.node.host import Host

OLD = 1_700_000_000
OWNER = {"uid": os.geteuid(), "gid": os.getegid()}
Member = tuple[str, Any]
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "gzip in parts": lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:]) + bytes(9),
    "gzip and a tape's zeros": lambda data: gzip.compress(data) + bytes(1024 * 1024),
    "gzip of much": lambda data: gzip.compress(data + bytes(4 * 1024 * 1024 + 77)),
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
    "zstd in frames": lambda data: b"".join(
        zstandard.ZstdCompressor().compress(part) for part in (data[:700], data[700:])
    ),
}


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def archive(*members: Member, **facts: Any) -> bytes:
    """Pack members: `(name, content)`, or with `None` a directory, or with an attribute's dict."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.mtime, member.mode = OLD, 0o644
            member.uid, member.gid = OWNER["uid"], OWNER["gid"]
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, dict):
                for key, value in content.items():
                    setattr(member, key, value)
                content = None
            for key, value in facts.items():
                setattr(member, key, value)
            member.size = len(content or b"")
            tar.addfile(member, io.BytesIO(content or b""))
    return buffer.getvalue()


class Layer:
    """A directory and an archive."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "layer"
        self.folder.mkdir()
        self.store = folder / "blob"

    def put(self, name: str, content: bytes = b"x", mode: int = 0o644) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        path.write_bytes(content)
        path.chmod(mode)
        os.utime(path, (OLD, OLD))
        return path

    def blob(self, data: bytes) -> PackedSource:
        self.store.write_bytes(data)
        return PackedSource(Host(), str(self.store), sha256(data))

    def split(self, data: bytes) -> TarSplit:
        """Keep of an archive what Docker does."""
        lines, at = list[dict[str, Any]](), 0
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                if member.size:
                    content = data[member.offset_data : member.offset_data + member.size]
                    lines.append(_segment(data[at : member.offset_data]))
                    name = member.name.encode(errors="surrogateescape")
                    lines.append(_file(name, content))
                    at = member.offset_data + member.size
        lines.append(_segment(data[at:]))
        self.store.write_bytes(gzip.compress(b"".join(map(_line, lines))))
        return TarSplit(Host(), str(self.store))

    def check(self, source: LayerSource | MissingArchive, data: bytes, **facts: Any) -> LayerCheck:
        layer = PromisedLayer(sha256(data), os.fsencode(self.folder), source)
        image = ImageLayers("sha256:image", (), Host(), b"user.overlay.")
        names = ("until", "max_differences", "extras")
        limits = {name: facts.pop(name) for name in names if name in facts}
        return LayerCheck(replace(layer, **facts), image, **limits)

    def row(
        self, source: LayerSource | MissingArchive, data: bytes, **facts: Any
    ) -> dict[str, Any]:
        check = self.check(source, data, **facts)
        assert all(step >= 0 for step in check.steps())
        return check.row()


def _segment(data: bytes) -> dict[str, Any]:
    return {"type": 2, "payload": base64.b64encode(data).decode()}


def _file(name: bytes, content: bytes) -> dict[str, Any]:
    crc = crc64(content, (1 << 64) - 1) ^ ((1 << 64) - 1)
    checksum = base64.b64encode(crc.to_bytes(8, "big")).decode()
    row = {"type": 1, "size": len(content), "payload": checksum}
    try:
        return row | {"name": name.decode()}
    except UnicodeDecodeError:
        return row | {"name_raw": base64.b64encode(name).decode()}


def _line(row: dict[str, Any]) -> bytes:
    return json.dumps(row).encode() + b"\n"


@pytest.fixture
def layer(tmp_path: Path) -> Layer:
    return Layer(tmp_path)


def told(row: dict[str, Any]) -> dict[str, str]:
    return {each["path"]: each["difference"] for each in row.get("differences", ())}


FILES: Sequence[Member] = (("./etc", None), ("./etc/a", b"content"), ("./etc/empty", b""))


def ordinary(layer: Layer) -> bytes:
    layer.put("etc/a", b"content")
    layer.put("etc/empty", b"")
    (layer.folder / "etc").chmod(0o755)
    return archive(*FILES)


@pytest.mark.parametrize("packing", PACKED)
def test_a_blob_however_it_is_packed(layer: Layer, packing: str) -> None:
    data = ordinary(layer)
    blob = layer.blob(PACKED[packing](data))
    unpacked = b"".join(blob.read(0))
    row = layer.row(blob, unpacked)
    assert not [*blob.suspects(0)]
    assert unpacked.rstrip(b"\0") == data.rstrip(b"\0")
    assert (row["result"], row["members"], row["size"] >= len(data)) == ("proven", 3, True)
    assert "reason" not in row and "differences" not in row


def test_what_docker_kept_of_a_layer(layer: Layer) -> None:
    data = ordinary(layer)
    assert layer.row(layer.split(data), data)["result"] == "proven"


@pytest.mark.parametrize("kept", ["blob", "split"])
def test_other_content_of_the_same_size_and_time(layer: Layer, kept: str) -> None:
    data = ordinary(layer)
    layer.put("etc/a", b"CONTENT")
    row = layer.row(getattr(layer, kept)(data), data)
    assert (row["result"], told(row)) == ("differs", {"/etc/a": "content"})


@pytest.mark.parametrize("kept", ["blob", "split"])
def test_names_of_any_bytes(layer: Layer, kept: str) -> None:
    name = b"not-utf8-\xff"
    layer.put(os.fsdecode(name), b"content")
    data = archive((os.fsdecode(name), b"content"))
    assert layer.row(getattr(layer, kept)(data), data)["result"] == "proven"
    layer.put(os.fsdecode(name), b"CONTENT")
    (row,) = layer.row(getattr(layer, kept)(data), data)["differences"]
    assert row["path"] == "/not-utf8-\\xff"
    assert base64.b64decode(row["raw"]) == b"/" + name


@pytest.mark.parametrize("kept", ["blob", "split"])
def test_a_file_that_became_shorter_or_longer_or_is_gone(layer: Layer, kept: str) -> None:
    names = ("cut", "grown", "gone", "folder")
    data = archive(*((name, b"content") for name in names))
    layer.put("cut", b"con")
    layer.put("grown", b"contents")
    (layer.folder / "folder").mkdir()
    row = layer.row(getattr(layer, kept)(data), data)
    assert told(row)["/gone"] == "missing" and told(row)["/folder"] == "type"
    sizes = {each["path"]: each.get("size") for each in row["differences"]}
    assert sizes["/cut"] == {"image": 7, "node": 3} and sizes["/grown"] == {"image": 7, "node": 8}


def test_content_whose_checksum_was_forged_still_makes_it_another_layer(layer: Layer) -> None:
    data = ordinary(layer)
    source = layer.split(data)
    layer.put("etc/a", b"CONTENT")
    start = data.index(b"content")
    forged = [
        _segment(data[:start]),
        _file(b"etc/a", b"CONTENT"),
        _segment(data[start + 7 :]),
    ]
    layer.store.write_bytes(gzip.compress(b"".join(map(_line, forged))))
    row = layer.row(source, data)
    assert (row["result"], told(row)) == ("differs", {"/": "content"})
    assert row["differences"][0]["diffId"]["image"] == sha256(data)


def test_what_ends_before_the_file_was_found_still_differs(layer: Layer) -> None:
    data = ordinary(layer)
    source = layer.split(data)
    layer.put("etc/a", b"CONTENT")
    check = layer.check(source, data)
    for step in check.steps():
        if not step and check.total:
            break
    check.end("Deadline", "There was no time")
    assert check.row()["result"] == "differs" and check.row()["reason"] == "Deadline"


def test_the_files_that_changed_last_are_looked_at_first(layer: Layer) -> None:
    names = [f"file{number}" for number in range(5)]
    for name in names:
        layer.put(name, b"content")
    data = archive(*((name, b"content") for name in names))
    source = replace(layer.split(data), max_suspects=2)
    layer.put("file3", b"CONTENT")
    assert told(layer.row(source, data)) == {"/file3": "content"}


def test_a_blob_that_is_not_what_it_is_named_after(layer: Layer) -> None:
    data = ordinary(layer)
    source = layer.blob(data)
    layer.store.write_bytes(data.replace(b"content", b"CONTENT"))
    row = layer.row(source, data)
    assert (row["result"], row["reason"]) == ("unproven", "BlobDiffers")
    assert source.digest in row["message"]


def test_a_blob_that_does_not_unpack_to_the_diff_id(layer: Layer) -> None:
    data = ordinary(layer)
    row = layer.row(layer.blob(data), data + b"other")
    assert (row["result"], row["reason"]) == ("unproven", "BlobDiffers")


@pytest.mark.parametrize(
    "data",
    [gzip.compress(b"x" * 9999)[:-20] + b"\0" * 20, b"\x28\xb5\x2f\xfdnonsense"],
    ids=["gzip", "zstd"],
)
def test_a_blob_that_cannot_be_decompressed(layer: Layer, data: bytes) -> None:
    damaged = layer.blob(data)
    row = layer.row(damaged, b"", diff_id="")
    assert (row["result"], row["reason"]) == ("unproven", "NotSupported")
    layer.store.write_bytes(data + b"more")
    assert layer.row(damaged, b"", diff_id="")["reason"] == "BlobDiffers"


def test_a_blob_that_is_cut(layer: Layer) -> None:
    data = ordinary(layer)
    whole = gzip.compress(data)
    row = layer.row(layer.blob(whole[:-40]), data)
    assert (row["result"], row["reason"]) == ("unproven", "BlobDiffers")


def test_a_blob_that_is_no_archive(layer: Layer) -> None:
    data = b"no archive" * 100
    row = layer.row(layer.blob(data), data)
    assert (row["result"], row["reason"]) == ("unproven", "NotSupported")


def test_an_empty_blob(layer: Layer) -> None:
    assert layer.row(layer.blob(b""), b"")["result"] == "proven"


@pytest.mark.parametrize(
    "kept",
    [
        gzip.compress(b"no JSON\n"),
        gzip.compress(b"[]\n"),
        gzip.compress(b'{"type":2,"payload":"x"}\n'),
        gzip.compress(b"{}\n" * 1000)[:-9],
        b"no gzip",
    ],
    ids=["no JSON", "list", "payload", "cut", "no gzip"],
)
def test_what_docker_kept_is_damaged(layer: Layer, kept: bytes) -> None:
    data = ordinary(layer)
    source = layer.split(data)
    layer.store.write_bytes(kept)
    row = layer.row(source, data)
    assert (row["result"], row["reason"]) == ("unproven", "NotSupported")


def test_what_is_gone_by_the_time(layer: Layer) -> None:
    data = ordinary(layer)
    source = layer.blob(data)
    layer.store.unlink()
    assert layer.row(source, data)["reason"] == "NotFound"
    lost = MissingArchive("NotFound", "It is gone")
    row = layer.row(lost, data)
    assert (row["result"], row["reason"], row["source"]) == ("unproven", "NotFound", "")
    (layer.folder.parent / "other").write_text("")
    file = os.fsencode(layer.folder.parent / "other")
    assert layer.row(layer.blob(data), data, folder=file)["reason"] == "Unreadable"


def test_of_members_of_one_name_the_last_counts(layer: Layer) -> None:
    layer.put("a", b"second")
    data = archive(("a", b"first!"), ("a", b"second"))
    assert layer.row(layer.blob(data), data)["result"] == "proven"


def test_unpacked_through_a_link_of_the_layer(layer: Layer) -> None:
    layer.put("usr/lib/x", b"content")
    (layer.folder / "lib").symlink_to("usr/lib")
    link = {"type": tarfile.SYMTYPE, "linkname": "usr/lib", "mode": 0o777}
    data = archive(("lib", link), ("lib/x", b"content"))
    for keep in (layer.blob, layer.split):
        row = layer.row(keep(data), data)
        assert (row["result"], told(row)) == ("proven", {})


def test_links_and_devices(layer: Layer) -> None:
    first = layer.put("first", b"content")
    os.link(first, layer.folder / "twin")
    (layer.folder / "link").symlink_to("first")
    os.mkfifo(layer.folder / "pipe", 0o600)
    data = archive(
        ("first", b"content"),
        ("twin", {"type": tarfile.LNKTYPE, "linkname": "first"}),
        ("link", {"type": tarfile.SYMTYPE, "linkname": "first"}),
        ("pipe", {"type": tarfile.FIFOTYPE, "mode": 0o600}),
    )
    assert layer.row(layer.blob(data), data)["result"] == "proven"
    first.unlink()
    row = layer.row(layer.blob(data), data)
    assert told(row) == {"/first": "missing", "/twin": "metadata"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_of_another_number(layer: Layer) -> None:
    device = {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3, "mode": 0o600}
    os.mknod(layer.folder / "null", 0o020600, os.makedev(1, 5))
    data = archive(("null", device))
    (row,) = layer.row(layer.blob(data), data)["differences"]
    assert row["device"] == {"image": "1:3", "node": "1:5"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_whiteouts(layer: Layer) -> None:
    (layer.folder / "etc").mkdir()
    (layer.folder / "etc").chmod(0o755)
    os.mknod(layer.folder / "etc/gone", 0o020000, 0)
    os.setxattr(layer.folder / "etc", "user.overlay.opaque", b"y")
    data = archive(
        ("etc", None),
        ("etc/.wh.gone", b""),
        ("etc/.wh..wh..opq", b""),
        (".wh..wh.plnk", b""),
    )
    assert layer.row(layer.blob(data), data)["result"] == "proven"
    (layer.folder / "etc/gone").unlink()
    os.removexattr(layer.folder / "etc", "user.overlay.opaque")
    source = layer.blob(data)
    assert told(layer.row(source, data)) == {
        "/etc/.wh.gone": "missing",
        "/etc/.wh..wh..opq": "type",
    }
    assert layer.row(source, data, bottom=True)["result"] == "proven"
    layer.put("etc/gone")
    assert told(layer.row(source, data))["/etc/.wh.gone"] == "type"
    (layer.folder / "etc/gone").unlink()
    (layer.folder / "etc").rmdir()
    assert told(layer.row(source, data))["/etc/.wh..wh..opq"] == "type"


def test_placeholders_are_empty_or_extra(layer: Layer) -> None:
    layer.put("etc/hosts", b"")
    layer.put("etc/hostname", b"evil")
    layer.put("etc/other", b"")
    known = frozenset({b"/etc", b"/etc/hosts", b"/etc/hostname"})
    row = layer.row(layer.blob(b""), b"", diff_id="", placeholders=known)
    assert told(row) == {"/etc/hostname": "extra", "/etc/other": "extra"}


def test_differences_are_bounded(layer: Layer) -> None:
    for number in range(5):
        layer.put(f"extra{number}")
    row = layer.row(layer.blob(b""), b"", max_differences=2)
    assert row["differencesTotal"] == 5 and len(row["differences"]) == 2


def test_layers_with_too_many_files(layer: Layer) -> None:
    data = ordinary(layer)
    row = layer.row(layer.blob(data), data, extras=ExtrasLimits(waiting=0))
    assert row["reason"] == "Unreadable"
    row = layer.row(layer.blob(data), data, extras=ExtrasLimits(names=2))
    assert (row["result"], row["reason"]) == ("unproven", "TooMany")


def test_files_that_there_is_no_time_to_hash(layer: Layer) -> None:
    data = ordinary(layer)
    row = layer.row(layer.blob(data), data, until=time.monotonic())
    assert (row["result"], row["reason"]) == ("unproven", "TooLarge")


def test_metadata_that_differs_where_content_is_not_hashed(layer: Layer) -> None:
    data = ordinary(layer)
    (layer.folder / "etc/a").chmod(0o755)
    row = layer.row(layer.blob(data), data, until=time.monotonic())
    assert (row["result"], told(row)) == ("differs", {"/etc/a": "metadata"})


def test_times_that_no_archive_can_have_are_not_compared(layer: Layer) -> None:
    layer.put("a", b"content")
    data = archive(("a", b"content"), mtime=-5)
    assert layer.row(layer.blob(data), data)["result"] == "proven"


def test_nothing_outside_of_the_layer_is_reached(layer: Layer) -> None:
    (layer.folder.parent / "secret").write_bytes(b"content")
    (layer.folder / "up").symlink_to("..")
    data = archive(("../secret", b"content"), ("up/secret", b"content"))
    found = told(layer.row(layer.blob(data), data))
    assert found["/secret"] == "missing" and found["/up/secret"] == "missing"


def test_crc64_is_gos_iso() -> None:
    """The check value of CRC-64/GO-ISO."""
    assert crc64(b"123456789", (1 << 64) - 1) ^ ((1 << 64) - 1) == 0xB90956C775A41001


def test_what_is_left_out_is_told_of_a_layer_that_differs_too(layer: Layer) -> None:
    """One difference that is easily found says nothing of those that were not looked for."""
    data = ordinary(layer)
    layer.put("extra")
    source = layer.blob(data)
    for limits, reason in (
        ({"until": 0.0}, "TooLarge"),
        ({"extras": ExtrasLimits(names=1)}, "TooMany"),
        ({"max_differences": 0}, "TooMany"),
        ({"extras": ExtrasLimits(entries=1)}, "Unreadable"),
    ):
        assert layer.row(source, data, **limits)["reason"] == reason


def test_files_that_may_have_been_changed_and_were_not_looked_at_are_counted(
    layer: Layer,
) -> None:
    data = archive(*((name, b"content") for name in "abc"))
    source = replace(layer.split(data), max_suspects=1)
    for name in "abc":
        layer.put(name, b"CONTENT")
    row = layer.row(source, data)
    assert (row["result"], row["reason"]) == ("differs", "TooMany")
    assert row["message"].startswith("2 files")


@pytest.mark.parametrize(
    ("name", "mark", "told_of"),
    [
        ("etc", "opaque", {"/etc/.wh..wh..opq": "extra"}),
        ("etc", "redirect", {"/etc": "metadata"}),
        ("etc/a", "metacopy", {"/etc/a": "metadata"}),
        ("etc/empty", "whiteout", {"/etc/empty": "metadata"}),
    ],
)
def test_attributes_that_show_something_else_than_lies_there(
    layer: Layer, name: str, mark: str, told_of: dict[str, str]
) -> None:
    data = ordinary(layer)
    os.setxattr(layer.folder / name, f"user.overlay.{mark}", b"y")
    row = layer.row(layer.blob(data), data)
    assert (row["result"], told(row)) == ("differs", told_of)
    if mark == "opaque":
        assert layer.row(layer.blob(data), data, bottom=True)["result"] == "proven"
