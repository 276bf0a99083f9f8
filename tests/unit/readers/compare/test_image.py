"""An image's tree out of its layers, whoever wrote them, and whatever is in them."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from forensics_core.errors import UsageError, VerificationError
from forensics_core.readers.compare.files import ComparedFile
from forensics_core.readers.compare.image import ImageSide, open_image
from forensics_core.readers.compare.layers import LayerMerge
from tests.unit.readers.compare.images import Entry, digest, laid_out, layer, saved

LOWER: dict[str, Entry] = {
    "./": None,
    "etc": None,
    "etc/passwd": b"root:x:0:0",
    "etc/old": b"old",
    "opt": None,
    "opt/tool": None,
    "opt/tool/bin": b"tool",
    "srv": None,
    "srv/a": b"a",
    "srv/deep": None,
    "srv/deep/b": b"b",
    "same": b"below",
    "link": "-> etc/passwd",
}
UPPER: dict[str, Entry] = {
    "etc/.wh.old": b"",
    "opt/tool": b"a file now",
    "srv/.wh..wh..opq": b"",
    "srv/.wh..wh.plnk": b"",
    "srv/new": b"new",
    "same": b"above",
    "hard": "=> same",
    "same/impossible": b"beneath a file of its own layer",
}
MERGED = {
    "/": None, "/etc": None, "/etc/passwd": b"root:x:0:0", "/opt": None, "/opt/tool": b"a file now",
    "/srv": None, "/srv/new": b"new", "/same": b"above",
    "/same/impossible": UPPER["same/impossible"], "/link": "etc/passwd", "/hard": "/same",
}  # fmt: skip


async def files(path: Path, image_id: str = "") -> dict[str, ComparedFile]:
    side = await open_image(path, image_id)
    return {os.fsdecode(file.path): file async for batch in side.files() for file in batch}


async def tree(path: Path) -> dict[str, object]:
    """Return what each path is: a digest, a target, or None for a directory."""
    return {
        name: digest_of(file) if file.kind == "file" else os.fsdecode(file.target) or None
        for name, file in (await files(path)).items()
    }


def digest_of(file: ComparedFile) -> str:
    return file.sha256


def expected() -> dict[str, object]:
    return {name: digest(one) if isinstance(one, bytes) else one for name, one in MERGED.items()}


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
async def test_layers_are_merged_with_their_whiteouts(tmp_path: Path, pack: type[bytes]) -> None:
    path = saved(tmp_path / "image.tar", layer(LOWER), layer(UPPER), pack=pack)
    assert await tree(path) == expected()


@pytest.mark.parametrize("nested", [False, True])
async def test_a_layout_is_read_as_well(tmp_path: Path, nested: bool) -> None:
    path = laid_out(tmp_path / "image.tar", layer(LOWER), layer(UPPER), nested=nested)
    assert await tree(path) == expected()


async def test_gzip_of_several_parts_and_three_layers_are_read(tmp_path: Path) -> None:
    def parts(data: bytes) -> bytes:
        return gzip.compress(data[:1000]) + gzip.compress(data[1000:])

    third = layer({".wh.srv": b"", "etc/old": b"back"})
    path = saved(tmp_path / "image.tar", layer(LOWER), layer(UPPER), third, pack=parts)
    found = {*await tree(path)}
    assert "/etc/old" in found and not any(name.startswith("/srv") for name in found)


async def test_a_layer_that_is_stored_once_for_several_images_is_found(tmp_path: Path) -> None:
    lower = layer(LOWER)
    config = json.dumps({"rootfs": {"diff_ids": [f"sha256:{digest(lower)}"]}}).encode()
    manifest = json.dumps([{"Config": "c", "RepoTags": None, "Layers": ["b/layer.tar"]}]).encode()
    members: dict[str, Entry] = {
        "a/layer.tar": lower, "b/layer.tar": "-> ../a/layer.tar", "c": config,
        "manifest.json": manifest,
    }  # fmt: skip
    (tmp_path / "image.tar").write_bytes(layer(members))
    assert "/etc/passwd" in await files(tmp_path / "image.tar")
    assert (await open_image(tmp_path / "image.tar")).name == "c"


def two_images(path: Path) -> Path:
    """Write two images, whose configurations are named for their digests."""
    members: dict[str, Entry] = {}
    rows = []
    for name in ("first", "second"):
        one = layer({name: b"x"})
        config = json.dumps({"rootfs": {"diff_ids": [f"sha256:{digest(one)}"]}}).encode()
        members |= {f"{name}.tar": one, f"blobs/sha256/{digest(config)}": config}
        rows.append(
            {
                "Config": f"blobs/sha256/{digest(config)}",
                "RepoTags": [name],
                "Layers": [f"{name}.tar"],
            }
        )
    path.write_bytes(layer({**members, "manifest.json": json.dumps(rows).encode()}))
    return path


async def test_of_several_images_the_container_s_own_is_taken(tmp_path: Path) -> None:
    path = two_images(tmp_path / "image.tar")
    with pytest.raises(UsageError, match=r"has 2 images.*first, second"):
        await files(path)
    one = layer({"second": b"x"})
    config = json.dumps({"rootfs": {"diff_ids": [f"sha256:{digest(one)}"]}}).encode()
    assert {*await files(path, f"sha256:{digest(config)}")} == {"/second"}


async def test_attributes_devices_and_owners_are_compared_too(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("ping")
        member.uid, member.gid = 7, 8
        member.pax_headers = {
            "SCHILY.xattr.security.capability": "cap",
            "SCHILY.xattr.security.selinux": "label",
        }
        tar.addfile(member)
        member = tarfile.TarInfo("null")
        member.type, member.devmajor, member.devminor = tarfile.CHRTYPE, 1, 3
        tar.addfile(member)
    found = await files(saved(tmp_path / "image.tar", packed.getvalue()))
    assert {*found["/ping"].xattrs} == {"security.capability"}
    assert (found["/ping"].uid, found["/ping"].gid, found["/null"].device) == (7, 8, (1, 3))


async def test_names_that_lead_elsewhere_are_only_names(tmp_path: Path) -> None:
    hostile: dict[str, Entry] = {"../../etc/cron.d/x": b"x", "/abs": b"y", "a": "-> /etc/passwd"}
    before = sorted(tmp_path.iterdir())
    found = await files(saved(tmp_path / "image.tar", layer(hostile)))
    assert {*found} == {"/../../etc/cron.d/x", "/abs", "/a"}
    assert sorted(tmp_path.iterdir()) == [*before, tmp_path / "image.tar"]


async def test_a_layer_that_is_not_the_image_s_does_not_verify(tmp_path: Path) -> None:
    other = [f"sha256:{digest(b'another')}"]
    path = saved(tmp_path / "image.tar", layer(LOWER), diff_ids=other)
    with pytest.raises(VerificationError, match="is not what the image says"):
        await files(path)


async def test_a_blob_that_is_not_what_it_is_called_does_not_verify(tmp_path: Path) -> None:
    path = laid_out(tmp_path / "image.tar", layer(LOWER))
    data = path.read_bytes()
    path.write_bytes(data.replace(b'{"rootfs"', b'{"Rootfs"'))
    with pytest.raises(VerificationError, match="has the SHA-256"):
        await files(path)


WRONG: dict[str, Callable[[Path], object]] = {
    "no tar": lambda path: path.write_bytes(b"x" * 5000),
    "empty": lambda path: path.write_bytes(b""),
    "gzip around it all": lambda path: path.write_bytes(gzip.compress(b"x")),
    "no image": lambda path: path.write_bytes(layer({"etc/passwd": b""})),
    "no JSON": lambda path: path.write_bytes(layer({"manifest.json": b"{"})),
    "no list": lambda path: path.write_bytes(layer({"manifest.json": b"7"})),
    "no images": lambda path: path.write_bytes(layer({"manifest.json": b"[]"})),
    "a row that is none": lambda path: path.write_bytes(
        layer({"index.json": b'{"manifests": [7]}'})
    ),
    "a layer that is missing": lambda path: path.write_bytes(
        layer({"c": b"{}", "manifest.json": b'[{"Config": "c", "Layers": ["gone"]}]'})
    ),
    "a configuration that is a folder": lambda path: path.write_bytes(
        layer({"c": None, "manifest.json": b'[{"Config": "c", "Layers": []}]'})
    ),
    "a configuration without layers": lambda path: saved(path, layer(LOWER), diff_ids=[]),
    "a configuration that is a list": lambda path: path.write_bytes(
        layer({"c": b"[]", "manifest.json": b'[{"Config": "c", "Layers": []}]'})
    ),
    "a configuration that is large": lambda path: path.write_bytes(
        layer({"c": b" " * 17 * 2**20, "manifest.json": b'[{"Config": "c", "Layers": []}]'})
    ),
    "a layer that is no tar": lambda path: saved(path, b"x" * 5000),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
async def test_what_is_no_image_is_wrong_usage(tmp_path: Path, what: str) -> None:
    WRONG[what](tmp_path / "image.tar")
    with pytest.raises(UsageError):
        await files(tmp_path / "image.tar")


@pytest.mark.parametrize(
    "pack",
    [
        lambda data: gzip.compress(data)[:10] + b"\xff" * 100,
        lambda data: gzip.compress(data)[:-20],
        lambda data: zstandard.compress(data)[:12] + b"\xff" * 100,
        lambda data: zstandard.compress(data)[:-20],
    ],
)
async def test_a_layer_that_is_damaged_is_no_baseline(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = saved(tmp_path / "image.tar", layer(LOWER), pack=pack)
    with pytest.raises((UsageError, VerificationError), match="has a layer that"):
        await files(path)


async def test_an_archive_of_too_many_members_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "image.tar", layer(LOWER))
    with pytest.raises(UsageError, match="more than 2 members"):
        await open_image(path, most=2)


async def test_a_device_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a regular file"):
        await open_image(Path("/dev/null"))


def test_more_whiteouts_than_memory_takes_are_refused() -> None:
    merge = LayerMerge(most=3)
    with pytest.raises(UsageError, match="more than 3 whiteouts"):
        for number in range(4):
            merge.take(b"/.wh.%d" % number, directory=False)


PATHS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join)
LAYERS = st.lists(
    st.dictionaries(
        PATHS, st.sampled_from(["file", "directory", "whiteout", "opaque"]), max_size=6
    ),
    min_size=1,
    max_size=4,
)


def applied(layers: list[dict[str, str]]) -> dict[str, str]:
    """Apply layers from the lowest up, as an engine does on a disk."""
    there: dict[str, str] = {}
    for each in layers:
        gone = tuple(path for path, kind in each.items() if kind in {"whiteout", "file"})
        emptied = tuple(f"{path}/" for path, kind in each.items() if kind != "directory")
        there = {
            path: kind
            for path, kind in there.items()
            if path not in gone and not path.startswith(emptied)
        }
        there |= {path: kind for path, kind in each.items() if kind in {"file", "directory"}}
    return there


def consistent(layers: list[dict[str, str]]) -> bool:
    """Whether each path lies in a directory, as in every image that an engine made."""
    there: dict[str, str] = {}
    for number in range(len(layers)):
        mine = {path for path, kind in layers[number].items() if kind in {"file", "directory"}}
        gone = {path for path, kind in layers[number].items() if kind == "whiteout"}
        there = applied(layers[: number + 1])
        for path in mine:
            parents = [path.rsplit("/", depth)[0] for depth in range(1, path.count("/") + 1)]
            if any(there.get(parent) != "directory" for parent in parents):
                return False
            if gone & {path, *parents}:
                return False
    return True


@given(LAYERS.filter(consistent))
def test_the_highest_first_gives_the_same_tree_as_the_lowest_first(
    layers: list[dict[str, str]],
) -> None:
    merge, found = LayerMerge(), dict[str, str]()
    for each in reversed(layers):
        for path, kind in each.items():
            folder, _, name = path.rpartition("/")
            spelled = {
                "whiteout": f"{folder}/.wh.{name}".lstrip("/"),
                "opaque": f"{path}/.wh..wh..opq",
            }.get(kind, path)
            if merge.take(b"/" + spelled.encode(), directory=kind == "directory"):
                found[path] = kind
        merge.end_layer()
    assert found == applied(layers)


def test_an_image_is_whole() -> None:
    assert not ImageSide.gap
