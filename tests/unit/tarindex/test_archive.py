"""Parts of archives, and what is said of archives and indexes that are not what they should be."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import zstandard

from forensics_core._internal.flaws import Flaws
from forensics_core.bundle.content import find_file, read_file
from forensics_core.bundle.expected import ExpectedObject
from forensics_core.bundle.files import open_index
from forensics_core.bundle.reader import open_bundle
from forensics_core.errors import ForensicsError, VerificationError
from forensics_core.pipeline import seektable
from forensics_core.pipeline.seektable import Frame
from forensics_core.tarindex.archive import Archive, open_archive
from forensics_core.tarindex.lookup import PathFilter
from forensics_core.tarindex.row import read_rows
from tests.bundles import ARCHIVE, ROOTFS, artifact, edit_manifest, replace_object, write_bundle
from tests.integration.collector.folder_container import capture_tree

WEB = "containers/web/"
INDEX, LOOKUP = WEB + "rootfs.index.jsonl.zst", WEB + "rootfs.lookup.jsonl.zst"


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    await write_bundle(str(tmp_path / "bundle"))
    return tmp_path / "bundle"


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Archive]:
    async with open_bundle(str(folder)) as bundle:
        yield await open_archive(bundle, bundle.objects[ROOTFS])


async def test_any_part_of_an_archive(folder: Path) -> None:
    chance = random.Random(3)  # noqa: S311  # the same every time
    async with opened(folder) as archive:
        assert archive.size == len(ARCHIVE)
        for _ in range(20):
            start = chance.randrange(archive.size)
            length = min(chance.choice([0, 1, 5000, 5_000_000]), archive.size - start)
            assert await archive.read_all(start, length) == ARCHIVE[start : start + length]


@pytest.mark.parametrize(("start", "length"), [(-1, 1), (0, -1), (len(ARCHIVE), 1)])
async def test_parts_that_are_not_there(folder: Path, start: int, length: int) -> None:
    async with opened(folder) as archive:
        with pytest.raises(VerificationError, match="it has no such part"):
            await archive.read_all(start, length)


async def test_data_that_is_compressed_unevenly(tmp_path: Path) -> None:
    """What it takes is not known before: the rest of the frame is fetched as well."""
    noise = random.Random(5).randbytes(2**20)  # noqa: S311  # the same every time
    archive = noise + bytes(2**20)
    await write_bundle(str(tmp_path / "bundle"), archive=archive)
    async with opened(tmp_path / "bundle") as reading:
        assert await reading.read_all(2**20 - 10, 10) == noise[-10:]


async def test_a_small_archive_that_came_with_its_seek_table_is_not_asked_for_again() -> None:
    plain = b"row\n" * 100
    stored = frame(plain) + seektable.encode([Frame(len(frame(plain)), len(plain))])
    asked = list[tuple[int, int | None]]()

    class Store:
        async def read_range(
            self, name: str, start: int, length: int | None
        ) -> AsyncGenerator[bytes, None]:
            asked.append((start, length))
            yield stored[start : start + (length or 0)]

    said = ExpectedObject(
        "rows", "", size=len(stored), compressed=True, original_size=len(plain), described=True
    )
    archive = await open_archive(Store(), said)
    assert await archive.read_frame(0) == plain
    assert asked == [(0, len(stored))]


class CountingStore:
    """What is stored, and how it was asked for."""

    def __init__(self, contents: list[bytes]) -> None:
        frames = [frame(each) for each in contents]
        table = [Frame(len(one), len(each)) for one, each in zip(frames, contents, strict=True)]
        self.stored = with_table(b"".join(frames), *table)
        self.said = ExpectedObject(
            "rows",
            "",
            size=len(self.stored),
            compressed=True,
            original_size=sum(map(len, contents)),
        )
        self.asked = list[tuple[int, int | None]]()

    async def read_range(
        self, name: str, start: int, length: int | None
    ) -> AsyncGenerator[bytes, None]:
        self.asked.append((start, length))
        yield self.stored[start : start + (length or 0)]


LARGE = [random.Random(each).randbytes(3 * 2**20) for each in range(4)]  # noqa: S311


async def test_frames_that_are_needed_one_after_the_other_come_by_one_request() -> None:
    store = CountingStore(LARGE)
    archive = await open_archive(store, store.said)
    store.asked.clear()
    assert await archive.read_all(2**20, 7 * 2**20) == b"".join(LARGE)[2**20 : 8 * 2**20]
    # Those of 8 MiB together, then the rest.
    assert len(store.asked) == 2
    store.asked.clear()
    assert await archive.read_all(3 * 2**20 - 5, 10) == LARGE[0][-5:] + LARGE[1][:5]
    ((_, length),) = store.asked
    assert length is not None and length < 4 * 2**20


async def test_frames_that_are_known_to_be_needed_are_fetched_with_what_is_between() -> None:
    store = CountingStore(LARGE)
    archive = await open_archive(store, store.said)
    store.asked.clear()
    near = await archive.together([0, 2], 16 * 2**20)
    assert [await archive.read_frame(number, near) for number in (0, 2)] == [LARGE[0], LARGE[2]]
    assert len(store.asked) == 1
    for numbers, most in ([0, 2], 2**20), ([1], 16 * 2**20):
        assert not (await archive.together(numbers, most)).data
    assert len(store.asked) == 1


async def test_frames_of_a_small_index_that_is_there_are_not_fetched() -> None:
    store = CountingStore([b"row\n" * 100, b"other\n", b"last\n"])
    archive = await open_archive(store, store.said, store.stored)
    assert not (await archive.together([0, 2], 2**20)).data
    assert await archive.read_all(398, 10) == b"w\nother\nla"
    assert not store.asked


def frame(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(data)


def with_table(stored: bytes, *frames: Frame) -> bytes:
    return stored + seektable.encode(frames)


HALF = frame(b"x" * 10)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "its seek table|struct|unpack|buffer"),
        (frame(ARCHIVE), "no seek table"),
        (frame(ARCHIVE) + b"\xff" * 4 + b"\0" + seektable.encode([])[-4:], "too long"),
        (with_table(b"z" * 9, Frame(8, len(ARCHIVE))), "does not fit its size"),
        (with_table(b"z" * 9, Frame(9, 5)), "does not fit what it holds"),
        (with_table(b"z" * 9, Frame(9, len(ARCHIVE))), "cannot be decompressed"),
        (with_table(HALF, Frame(len(HALF), len(ARCHIVE))), "less than its seek table says"),
    ],
)
async def test_archives_that_are_none(folder: Path, data: bytes, why: str) -> None:
    replace_object(folder, ROOTFS, data)
    with pytest.raises(VerificationError, match=why):
        async with opened(folder) as archive:
            await archive.read_all(5000, 10)


async def test_frames_that_are_too_large(tmp_path: Path) -> None:
    """A reader takes no more memory than a frame of ours needs, whatever a table says."""
    await write_bundle(str(tmp_path / "bundle"))
    claimed = 2**27 + 1
    replace_object(tmp_path / "bundle", ROOTFS, with_table(HALF, Frame(len(HALF), claimed)))
    promise(tmp_path / "bundle", ROOTFS, "0" * 64, claimed)
    with pytest.raises(VerificationError, match="a frame is too large"):
        async with opened(tmp_path / "bundle"):
            pass


async def test_a_long_seek_table_is_read_whole(tmp_path: Path) -> None:
    """One of more bytes than are read at first."""
    await write_bundle(str(tmp_path / "bundle"))
    frames = [frame(ARCHIVE[start : start + 4096]) for start in range(0, len(ARCHIVE), 4096)]
    table = [
        Frame(len(each), min(4096, len(ARCHIVE) - number * 4096))
        for number, each in enumerate(frames)
    ]
    replace_object(tmp_path / "bundle", ROOTFS, with_table(b"".join(frames), *table))
    async with opened(tmp_path / "bundle") as archive:
        assert len(archive.frames or ()) == len(frames)
        assert await archive.read_all(5_000_000, 9) == ARCHIVE[5_000_000:5_000_009]


@pytest.fixture
async def indexed(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("content")
    await capture_tree(tree, str(tmp_path / "bundle"))
    return tmp_path / "bundle"


def plain(folder: Path, name: str) -> bytes:
    reader = zstandard.ZstdDecompressor().stream_reader(
        (folder / name).read_bytes(), read_across_frames=True
    )
    return reader.read()


def store(folder: Path, name: str, data: bytes) -> None:
    """Store an archive anew, as a hostile node could have done."""
    packed = frame(data)
    whole = with_table(packed, Frame(len(packed), len(data)))
    replace_object(folder, name, whole)
    promise(folder, name, hashlib.sha256(data).hexdigest(), len(data))


def promise(folder: Path, name: str, sha256: str, size: int) -> None:
    """Let the manifest say what is in an archive."""

    def edit(document: dict[str, Any]) -> None:
        artifact(document, name).update(originalSha256=sha256, originalSize=size)

    edit_manifest(folder, edit)


async def content(folder: Path, path: bytes = b"/file") -> bytes:
    async with open_bundle(str(folder)) as bundle:
        index = await open_index(bundle, "web")
        row = await find_file(index, path)
        async with aclosing(read_file(bundle, index, row)) as blocks:
            return b"".join([block async for block in blocks])


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (b"{}\n", "is not a lookup table"),
        (b"[]\n", "is not a lookup table"),
        (b'{"sha256": "x", "size": 5, "filter": "!"}\n', "is not a lookup table"),
        (b'{"sha256": "x", "size": 5, "filter": ""}\n', "does not fit"),
    ],
)
async def test_lookup_tables_that_are_none(indexed: Path, table: bytes, why: str) -> None:
    store(indexed, LOOKUP, table)
    with pytest.raises(VerificationError, match=why):
        await content(indexed)


async def test_rows_that_the_table_does_not_prove(indexed: Path) -> None:
    store(indexed, INDEX, plain(indexed, INDEX).replace(b"/file", b"/fil3"))
    with pytest.raises(VerificationError, match="is not what its lookup table says"):
        await content(indexed)


def forge(folder: Path, old: bytes, new: bytes) -> None:
    """Make the index say something else, and the table agree with it."""
    rows = plain(folder, INDEX).replace(old, new)
    entry = json.loads(plain(folder, LOOKUP))
    entry.update(sha256=hashlib.sha256(rows).hexdigest(), size=len(rows))
    entry["filter"] = base64.b64encode(PathFilter.of([b"/file", b"/"]).bits).decode()
    store(folder, INDEX, rows)
    store(folder, LOOKUP, json.dumps(entry).encode() + b"\n")


SHA256 = hashlib.sha256(b"content").hexdigest().encode()


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (SHA256, b"0" * 64, "its SHA-256 differs"),
        (b'"sha256":"' + SHA256, b'"storedSha256":"' + SHA256[::-1], "its SHA-256 differs"),
        (b'"size":7', b'"size":-7', "not a size"),
        (b'"size":7', b'"size":true', "not a size"),
        (b'"size":7', b'"size":70000000', "no such part"),
        (b'"size":7', b'"size":7,"truncated":true', "ends in the middle"),
        (b'"size":7', b'"size":7,"sparse":true', "no end"),
        (b'"size":7', b'"size":0,"sparse":true', "no end"),
        (b'"uid"', b'"x"', "a row that is not valid"),
        (b'"path":"/file"', b'"path":7', "a row that is not valid"),
        (b'"path":"/file"', b'"path":{"base64":"!"}', "a row that is not valid"),
    ],
)
async def test_rows_that_lie(indexed: Path, old: bytes, new: bytes, why: str) -> None:
    forge(indexed, old, new)
    with pytest.raises(VerificationError, match=why):
        await content(indexed)


async def test_a_bundle_without_its_archive(indexed: Path) -> None:
    path = indexed / "manifest.json"
    path.write_text(path.read_text().replace("rootfs.tar.zst", "rootfs.old"))
    with pytest.raises(VerificationError, match="is not in the manifest"):
        await content(indexed)


async def test_a_bundle_without_an_index(folder: Path) -> None:
    async with open_bundle(str(folder)) as bundle:
        with pytest.raises(ForensicsError, match="has no index"):
            await open_index(bundle, "web")


def test_rows_with_names_of_any_bytes() -> None:
    exact = base64.b64encode(b"/\xff").decode()
    said: dict[str, object] = {
        "path": {"text": "/\\xff", "base64": exact},
        "type": "symlink",
        "mode": "0777",
    }
    said |= {"uid": "0", "gid": "0", "size": 0, "mtime": "0", "atime": "", "ctime": ""}
    ((row,),) = read_rows(
        json.dumps(said).encode(), Flaws("index", "holds a row that is not valid")
    )
    assert (row.path, row.directory, row.target) == (b"/\xff", b"/", b"")


def test_a_filter_never_denies_what_is_there() -> None:
    paths = [b"/data/%d/%d" % (number % 7, number) for number in range(2000)]
    filtering = PathFilter.of(paths)
    assert all(filtering.may_hold(path) for path in paths)
    assert all(filtering.may_list(b"/data/%d" % number) for number in range(7))
    strangers = sum(filtering.may_hold(b"/other/%d" % number) for number in range(10_000))
    assert strangers < 300
    assert not PathFilter(b"").may_hold(b"/")
