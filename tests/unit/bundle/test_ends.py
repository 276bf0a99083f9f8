"""What a lookup table has copies of is not read again, and copies that are none change nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import zstandard

from forensics_core.api.order import ArtifactKind, Compression
from forensics_core.bundle.content import find_file, read_file
from forensics_core.bundle.ends import FIELD
from forensics_core.bundle.files import open_index
from forensics_core.bundle.reader import open_bundle
from forensics_core.bundle.verify import verify
from forensics_core.bundle.writer import MAX_END, ArtifactSpec, BundleWriter
from forensics_core.errors import VerificationError
from forensics_core.pipeline import seektable
from forensics_core.pipeline.seektable import Frame
from forensics_core.pipeline.stages import Digest
from forensics_core.storage.blocks import one
from forensics_core.storage.storage import open_destination
from tests.bundles import artifact, edit_manifest, replace_object
from tests.unit.readers.evidence import change, write_evidence

WEB = "containers/web/"
INDEX, LOOKUP, MOUNTS = "rootfs.index.jsonl.zst", "rootfs.lookup.jsonl.zst", "mounts.json"
ARCHIVE = "rootfs.tar.zst"
NOISE = random.Random(2).randbytes(5 * 2**20)  # noqa: S311 - the same every time


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A bundle whose archive has two frames."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/noise").write_bytes(NOISE)
    return await write_evidence(
        tmp_path / "bundle", [change("/x")], tree=tmp_path / "tree", mounts=[]
    )


async def content(folder: Path) -> bytes:
    async with open_bundle(str(folder)) as bundle:
        index = await open_index(bundle, "web")
        row = await find_file(index, b"/noise")
        async with aclosing(read_file(bundle, index, row)) as blocks:
            return b"".join([block async for block in blocks])


def table_of(folder: Path) -> dict[str, Any]:
    reader = zstandard.ZstdDecompressor().stream_reader(
        (folder / WEB / LOOKUP).read_bytes(), read_across_frames=True
    )
    entry: dict[str, Any] = json.loads(reader.read())
    return entry


def replace_table(folder: Path, entry: dict[str, Any]) -> None:
    """Store another lookup table, as a hostile node could have done."""
    line = json.dumps(entry).encode() + b"\n"
    stored = zstandard.ZstdCompressor().compress(line)
    stored += seektable.encode([Frame(len(stored), len(line))])
    replace_object(folder, WEB + LOOKUP, stored)
    digest = {"originalSha256": hashlib.sha256(line).hexdigest(), "originalSize": len(line)}
    edit_manifest(folder, lambda document: artifact(document, WEB + LOOKUP).update(digest))


async def test_what_there_is_a_copy_of_is_not_read(folder: Path) -> None:
    assert set(table_of(folder)[FIELD]) == {INDEX, ARCHIVE, MOUNTS}
    archive = folder / WEB / ARCHIVE
    (folder / WEB / INDEX).unlink()
    (folder / WEB / MOUNTS).unlink()
    archive.write_bytes(archive.read_bytes()[:-9] + b"no table.")
    assert await content(folder) == NOISE


async def test_a_bundle_with_copies_verifies(folder: Path) -> None:
    assert (await verify(str(folder))).ok


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


OTHER: dict[str, Callable[[dict[str, Any]], Any]] = {
    "none": lambda ends: {},
    "no object": lambda ends: 7,
    "no text": lambda ends: dict.fromkeys(ends, 7),
    "no base64": lambda ends: dict.fromkeys(ends, "!"),
    "nothing": lambda ends: dict.fromkeys(ends, ""),
    "too much": lambda ends: dict.fromkeys(ends, coded(NOISE) + coded(NOISE)),
    "of other objects": lambda ends: {f"../x/{name}": end for name, end in ends.items()},
    "of other bytes": lambda ends: {
        name: coded(base64.b64decode(end)[::-1]) for name, end in ends.items()
    },
    "of another table": lambda ends: dict.fromkeys(ends, coded(seektable.encode([Frame(9, 9)]))),
    "of a table too long": lambda ends: dict.fromkeys(
        ends, coded(b"\xff\xff\xff\x7f\0" + seektable.encode([])[-4:])
    ),
    "cut": lambda ends: {name: coded(base64.b64decode(end)[-5:]) for name, end in ends.items()},
}


@pytest.mark.parametrize("what", OTHER)
async def test_copies_that_do_not_fit_change_nothing(folder: Path, what: str) -> None:
    entry = table_of(folder)
    replace_table(folder, {**entry, FIELD: OTHER[what](entry[FIELD])})
    assert await content(folder) == NOISE


async def test_a_copy_of_a_seek_table_that_lies_is_told(folder: Path) -> None:
    entry = table_of(folder)
    first, last = seektable.decode(base64.b64decode(entry[FIELD][ARCHIVE]))
    moved = [Frame(first.stored - 9, first.original), Frame(last.stored + 9, last.original)]
    entry[FIELD][ARCHIVE] = coded(seektable.encode(moved))
    replace_table(folder, entry)
    with pytest.raises(VerificationError):
        await content(folder)


async def test_a_table_that_is_not_the_manifests_has_no_copies(folder: Path) -> None:
    path = folder / WEB / LOOKUP
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(VerificationError, match="not what the manifest says"):
        await content(folder)


@pytest.mark.parametrize(
    ("little", "tapped", "kept"),
    [(10_000, True, "all"), (100, True, "table"), (0, True, "table"), (0, False, "nothing")],
)
async def test_a_writer_keeps_little_things_and_seek_tables_of_what_has_an_index(
    tmp_path: Path, little: int, tapped: bool, kept: str
) -> None:
    async with open_destination(str(tmp_path)) as destination:
        bundle = BundleWriter(destination)
        spec = ArtifactSpec("x.zst", ArtifactKind.FILESYSTEM, "web", compression=Compression.ZSTD)
        taps = [Digest()] if tapped else []
        await bundle.add(spec, one(NOISE[:1000]), taps=taps, little=little)
    stored = (tmp_path / "x.zst").read_bytes()
    wanted = {"all": stored, "table": stored[-25:], "nothing": b""}[kept]
    assert bundle.ends.get("x.zst", b"") == wanted


async def test_a_seek_table_that_is_long_is_not_kept(tmp_path: Path) -> None:
    async def blocks() -> Any:
        for _ in range(MAX_END // 8 + 1):
            yield b"x"

    async with open_destination(str(tmp_path)) as destination:
        bundle = BundleWriter(destination)
        spec = ArtifactSpec("x.zst", ArtifactKind.FILESYSTEM, "web", compression=Compression.ZSTD)
        await bundle.add(spec, blocks(), taps=[Digest()], framed=True)
    assert not bundle.ends
