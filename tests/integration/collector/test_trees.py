"""Any tree goes through capture, fetch and GNU tar, and comes back; its index knows every file."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forensics_core.api.order import Compression
from forensics_core.errors import ForensicsError, VerificationError
from forensics_core.evidence.archive_file import find_file, read_file
from forensics_core.evidence.fetch import fetch
from forensics_core.evidence.index import FileIndex, open_index
from forensics_core.evidence.index_row import Row
from forensics_core.evidence.manifest import Flag, NotCaptured, Statement
from forensics_core.evidence.reader import BundleReader, open_bundle
from forensics_core.evidence.verify import verify
from tests.integration.collector.trees import archive, capture_tree, described, extract
from tests.unit.export.tarindex.archives import member, tar

MIB = 1024 * 1024
ODD = (b"line\nbreak", b"\x1b[31mred", b"not-utf8-\xff\xfe", b"-rf ~", b'q"\\: x', b"x" * 255)

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make these")

names = st.one_of(
    st.sampled_from(ODD),
    st.binary(min_size=1, max_size=60).filter(
        lambda name: not set(name) & {0, 47} and name not in {b".", b".."}
    ),
)
times = st.integers(0, 2**33 * 10**9)
Maker = Callable[[Path], None]


def regular(data: bytes, hole: int) -> Maker:
    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.seek(hole)
            file.write(data)

    return make


def pointing(target: bytes) -> Maker:
    return lambda path: path.symlink_to(os.fsdecode(target))


makers: st.SearchStrategy[Maker] = st.one_of(
    st.builds(regular, st.binary(max_size=2000), st.sampled_from([0, 0, 4096, 200_000])),
    st.just(Path.mkdir),
    st.just(os.mkfifo),
    names.map(pointing),
)
entries = st.tuples(names, makers, times, st.integers(0, 0o777), st.integers(0, 9))


def make_tree(folder: Path, members: list[tuple[bytes, Maker, int, int, int]]) -> None:
    """Make files, links and directories, with odd names, times and attributes."""
    folder.mkdir()
    places = [folder]
    for name, maker, time, mode, choice in members:
        path = places[choice % len(places)] / os.fsdecode(name)
        if os.path.lexists(path):
            continue
        maker(path)
        _furnish(path, mode, choice)
        os.utime(path, ns=(time, time), follow_symlinks=False)
        if path.is_dir() and not path.is_symlink():
            places.append(path)


def _furnish(path: Path, mode: int, choice: int) -> None:
    if path.is_symlink():
        return
    path.chmod(mode | stat.S_IRUSR)
    if choice % 3 == 0 and not path.is_fifo():
        os.setxattr(path, "user.origin", bytes([choice, 255, 10]))
    if choice % 4 == 0 and path.is_file():
        (path.parent / f"twin of {path.stat().st_ino}").hardlink_to(path)


@asynccontextmanager
async def opened(location: Path) -> AsyncIterator[tuple[BundleReader, FileIndex]]:
    async with open_bundle(str(location)) as bundle:
        yield bundle, await open_index(bundle, "web")


async def rows_of(index: FileIndex) -> list[Row]:
    async with aclosing(index.rows()) as rows:
        return [row async for row in rows]


async def content(bundle: BundleReader, index: FileIndex, path: bytes) -> bytes:
    row = await find_file(index, path)
    async with aclosing(read_file(bundle, index, row)) as blocks:
        return b"".join([block async for block in blocks])


@root_only
@pytest.mark.timeout(300)
@settings(max_examples=12)
@given(
    st.lists(entries, max_size=9, unique_by=lambda entry: entry[0]), st.sampled_from(Compression)
)
def test_any_tree_comes_back(
    members: list[tuple[bytes, Maker, int, int, int]], compression: Compression
) -> None:
    with TemporaryDirectory() as folder:
        top = Path(folder)
        make_tree(top / "tree", members)
        before = described(top / "tree")
        anyio.run(_round_trip, top, compression)
        assert described(top / "out") == before
        anyio.run(_compare, top / "tree", top / "bundle", before)


async def _round_trip(top: Path, compression: Compression) -> None:
    await capture_tree(top / "tree", str(top / "bundle"), compression)
    fetched = await fetch(str(top / "bundle"), top / "home", decompress=True)
    fetched.raise_for_problems()
    await anyio.to_thread.run_sync(extract, archive(top / "home"), top / "out")


async def _compare(tree: Path, location: Path, before: dict[bytes, tuple[object, ...]]) -> None:
    async with opened(location) as (bundle, index):
        rows = {row.path: row for row in await rows_of(index)}
        assert {os.path.normpath(b"/" + path) for path in before} == rows.keys()
        for path in before:
            row = rows[os.path.normpath(b"/" + path)]
            full = tree / os.fsdecode(path)
            said = full.lstat()
            assert await index.find(row.path) == row
            assert row in await index.list(row.directory) or row.path == b"/"
            assert row.mode == stat.S_IMODE(said.st_mode)
            assert (row.uid, row.gid) == (said.st_uid, said.st_gid)
            assert nanoseconds(row.mtime) == said.st_mtime_ns
            assert nanoseconds(row.ctime) == said.st_ctime_ns
            if stat.S_ISREG(said.st_mode):
                data = full.read_bytes()
                assert await content(bundle, index, row.path) == data
                assert row.kind == "hardlink" or row.sha256 == hashlib.sha256(data).hexdigest()
            if stat.S_ISLNK(said.st_mode):
                assert row.target == os.fsencode(full.readlink())


def nanoseconds(seconds: str) -> int:
    whole, _, rest = seconds.partition(".")
    return int(whole) * 10**9 + int(rest.ljust(9, "0") or 0)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with a text, a large file, a sparse one and links."""
    folder = tmp_path / "tree"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc" / "passwd").write_text("root:x:0:0\n")
    (folder / "large").write_bytes(os.urandom(64 * 1024) * 160)
    (folder / "twin").hardlink_to(folder / "large")
    (folder / "link").symlink_to("etc/passwd")
    with (folder / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(3 * MIB)
        file.write(b"middle")
        file.truncate(5 * MIB)
    return folder


@pytest.mark.parametrize("compression", Compression)
async def test_single_files(tree: Path, tmp_path: Path, compression: Compression) -> None:
    await capture_tree(tree, str(tmp_path / "bundle"), compression)
    async with opened(tmp_path / "bundle") as (bundle, index):
        for name in ("etc/passwd", "large", "twin", "sparse"):
            data = (tree / name).read_bytes()
            assert await content(bundle, index, b"/" + name.encode()) == data
        for path, said in (
            (b"/link", "a symlink to 'etc/passwd'"),
            (b"/etc", "a directory"),
            (b"/nowhere", "is not in the archive of 'web'."),
        ):
            with pytest.raises(ForensicsError, match=said):
                await find_file(index, path)
        assert [row.path for row in await index.list(b"/etc")] == [b"/etc/passwd"]
        async with aclosing(index.rows(b"/etc")) as rows:
            assert [row.path async for row in rows] == [b"/etc", b"/etc/passwd"]


async def test_holes_too_large_to_hash(tree: Path, tmp_path: Path) -> None:
    """What is read is compared with the SHA-256 of the data in the archive instead."""
    os.truncate(tree / "sparse", 1100 * MIB)
    await capture_tree(tree, str(tmp_path / "bundle"))
    async with opened(tmp_path / "bundle") as (bundle, index):
        row = await find_file(index, b"/sparse")
        assert not row.sha256 and row.stored_sha256
        size, sample = 0, b""
        async with aclosing(read_file(bundle, index, row)) as blocks:
            async for block in blocks:
                size += len(block)
                sample += block.strip(b"\0")
    assert size == 1100 * MIB and sample == b"beginmiddle"


def make_socket(folder: int, name: str) -> None:
    """Leave a socket in a folder that may lie deeper than the kernel's paths reach."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{folder}/{name}")


async def test_sockets_are_listed(tree: Path, tmp_path: Path) -> None:
    here = os.open(tree, os.O_RDONLY)
    make_socket(here, "app\n.sock")
    os.close(here)
    await capture_tree(tree, str(tmp_path / "bundle"))
    async with opened(tmp_path / "bundle") as (_, index):
        row = await index.find(b"/app\n.sock")
    said = (tree / "app\n.sock").lstat()
    assert row and (row.kind, row.mode) == ("socket", stat.S_IMODE(said.st_mode))
    assert nanoseconds(row.mtime) == said.st_mtime_ns and "header" not in row.document


async def test_sockets_without_a_row_are_counted(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.strays.MAX_NAMES_SIZE", 50)
    here = os.open(tree, os.O_RDONLY)
    for number in range(3):
        make_socket(here, f"{number}.sock")
    os.close(here)
    await capture_tree(tree, str(tmp_path / "bundle"))
    (gap,) = gaps(tmp_path / "bundle")
    assert gap.what == "sockets" and gap.message.endswith(". 2 of them have no row there")


async def test_a_name_that_is_too_long_to_be_looked_at_is_counted(
    tree: Path, tmp_path: Path
) -> None:
    """tar spells each of its bytes as four, and it lies deeper than the kernel's paths reach."""
    here = os.open(tree, os.O_RDONLY)
    for _ in range(70):
        os.mkdir(b"\xff" * 255, dir_fd=here)
        deeper = os.open(b"\xff" * 255, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    make_socket(here, "app.sock")
    os.close(here)
    await capture_tree(tree, str(tmp_path / "bundle"))
    (gap,) = gaps(tmp_path / "bundle")
    assert gap.what == "files with very long names" and "about 1 members" in gap.message


def gaps(bundle: Path) -> tuple[NotCaptured, ...]:
    return Statement.from_bytes((bundle / "manifest.json").read_bytes()).predicate.not_captured


async def test_missing_attributes_are_a_gap(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No disk breaks on demand: what tar says then is put beside what the real one does."""
    real = shutil.which("tar")
    broken = tmp_path / "bin" / "tar"
    broken.parent.mkdir()
    said = r'tar: "./etc": Warning: Cannot flistxattr: Input/output error'
    broken.write_text(f"#!/bin/sh\nprintf '%s\\n' '{said}' >&2\nexec {real} \"$@\"\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")
    await capture_tree(tree, str(tmp_path / "bundle"))
    (gap,) = gaps(tmp_path / "bundle")
    assert gap.requested and (gap.what, gap.reason) == ("attributes of files", "Unreadable")
    assert gap.message.endswith(": ./etc")


async def test_a_runtimes_export_is_indexed_too(tmp_path: Path) -> None:
    data = tar([(member("etc/", tarfile.DIRTYPE), b""), (member("etc/passwd"), b"root")])
    await capture_tree(tmp_path, str(tmp_path / "bundle"), export=data)
    async with opened(tmp_path / "bundle") as (bundle, index):
        assert await content(bundle, index, b"/etc/passwd") == b"root"


async def test_an_archive_that_is_damaged_at_its_source_is_kept(tmp_path: Path) -> None:
    whole = tar([(member("first"), b"1"), (member("second"), b"2")])
    data = whole[:1024] + b"garbage!" * 1000
    await capture_tree(tmp_path, str(tmp_path / "bundle"), Compression.NONE, export=data)
    assert archive(tmp_path / "bundle").read_bytes() == data
    capture = Statement.from_bytes((tmp_path / "bundle" / "manifest.json").read_bytes()).predicate
    (gap,) = (gap for gap in capture.not_captured if gap.what == "rest of the index")
    assert not gap.requested and "ends after 1 members: a header is damaged" in gap.message
    flags = {artifact.name.split("/")[-1]: artifact.flags for artifact in capture.artifacts}
    assert flags["rootfs.index.jsonl.zst"] == (Flag.TRUNCATED,)
    async with opened(tmp_path / "bundle") as (bundle, index):
        assert not index.whole
        assert await content(bundle, index, b"/first") == b"1"
        with pytest.raises(ForensicsError, match="but the archive was cut, or damaged"):
            await find_file(index, b"/second")
    assert not (await verify(str(tmp_path / "bundle"))).problems


@pytest.mark.parametrize("size", [0, 512, 3 * 512, 4 * 512])
async def test_an_export_that_breaks_off_is_no_complete_evidence(tmp_path: Path, size: int) -> None:
    """The engine answers 200 first, and what fails afterwards just ends the stream."""
    data = tar([(member("first"), b"1"), (member("second"), b"2" * 600)])[:size]
    await capture_tree(tmp_path, str(tmp_path / "bundle"), export=data)
    capture = Statement.from_bytes((tmp_path / "bundle" / "manifest.json").read_bytes()).predicate
    (gap,) = (gap for gap in capture.not_captured if gap.what == "files of the file system")
    assert gap.requested and "broke off: the archive has no end" in gap.message
    flags = {artifact.name.split("/")[-1]: artifact.flags for artifact in capture.artifacts}
    assert Flag.TRUNCATED in flags["rootfs.tar.zst"]
    assert Flag.TRUNCATED in flags["rootfs.index.jsonl.zst"]


async def test_an_archive_that_the_deadline_cut_is_not_complete(tmp_path: Path) -> None:
    """Its index has a row for all that is in it, which is not all that there was."""
    whole = tar([(member("first"), b"1"), (member("second"), b"2" * 2000)])
    data = whole[: whole.index(b"2" * 100) + 100]
    location = tmp_path / "bundle"
    await capture_tree(tmp_path, str(location), export=data, stalls=True, seconds=1)
    async with opened(location) as (bundle, index):
        assert not index.whole
        assert await content(bundle, index, b"/first") == b"1"
        assert (row := await index.find(b"/second")) and row.truncated
        with pytest.raises(ForensicsError, match="but the archive was cut, or damaged"):
            await find_file(index, b"/third")
    assert [gap.reason for gap in gaps(location) if gap.requested] == ["Deadline"]
    assert not (await verify(str(location))).problems


async def test_at_a_low_rate_the_deadline_comes_first(tree: Path, tmp_path: Path) -> None:
    """The second block of 4 MiB has to wait for 40 seconds."""
    await capture_tree(tree, str(tmp_path / "bundle"), rate=MIB // 10, seconds=1)
    capture = Statement.from_bytes((tmp_path / "bundle" / "manifest.json").read_bytes()).predicate
    (artifact,) = (each for each in capture.artifacts if each.name.endswith("rootfs.tar.zst"))
    assert Flag.TRUNCATED in artifact.flags and artifact.original_size <= 4 * MIB


async def test_nothing_of_a_tar_has_an_empty_index(tmp_path: Path) -> None:
    await capture_tree(tmp_path, str(tmp_path / "bundle"), export=b"garbage!" * 1000)
    async with opened(tmp_path / "bundle") as (_, index):
        assert await rows_of(index) == [] and not index.whole
    assert not (await verify(str(tmp_path / "bundle"))).problems


async def test_many_files_need_few_bytes(tree: Path, tmp_path: Path) -> None:
    """One row is found in one chunk of many."""
    for number in range(6_000):
        (tree / "etc" / f"{number:05d}-{'x' * 100}").touch()
    await capture_tree(tree, str(tmp_path / "bundle"))
    async with opened(tmp_path / "bundle") as (bundle, index):
        read = 0
        plain = bundle.store.read_range

        def counted(
            name: str, start: int, length: int | None, version: str | None = None
        ) -> object:
            nonlocal read
            read += length or 0
            return plain(name, start, length, version)

        object.__setattr__(bundle.store, "read_range", counted)
        assert await index.find(b"/etc/passwd")
        rows = bundle.expectations["containers/web/rootfs.index.jsonl.zst"]
        assert 0 < read < (rows.size or 0) / 2


@pytest.fixture
async def bundle(tree: Path, tmp_path: Path) -> Path:
    """A captured bundle, to be spoiled."""
    await capture_tree(tree, str(tmp_path / "bundle"))
    return tmp_path / "bundle" / "containers" / "web"


async def read_large(location: Path) -> bytes:
    async with opened(location.parent.parent) as (reader, index):
        return await content(reader, index, b"/large")


@pytest.mark.parametrize(
    "name", ["rootfs.tar.zst", "rootfs.index.jsonl.zst", "rootfs.lookup.jsonl.zst"]
)
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
async def test_what_is_truncated_is_named(bundle: Path, name: str, keep: float) -> None:
    path = bundle / name
    os.truncate(path, int(path.stat().st_size * keep))
    with pytest.raises(VerificationError, match=name):
        await read_large(bundle)
    found = await verify(str(bundle.parent.parent))
    assert [problem.name for problem in found.problems] == [f"containers/web/{name}"]


@pytest.mark.parametrize(
    "name", ["rootfs.tar.zst", "rootfs.index.jsonl.zst", "rootfs.lookup.jsonl.zst"]
)
async def test_what_is_changed_is_named(bundle: Path, name: str) -> None:
    path = bundle / name
    data = bytearray(path.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 64] = bytes(64)
    path.write_bytes(bytes(data))
    with pytest.raises(VerificationError, match=r"rootfs|/large"):
        await read_large(bundle)
    assert (await verify(str(bundle.parent.parent))).problems


async def test_what_is_missing_is_named(bundle: Path) -> None:
    (bundle / "rootfs.tar.zst").unlink()
    with pytest.raises(ForensicsError, match=r"rootfs\.tar\.zst does not exist"):
        await read_large(bundle)
