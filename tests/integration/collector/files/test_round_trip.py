"""Any tree goes through capture, fetch and GNU tar, and comes back; its index knows every file."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import stat
import tarfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.files.gnu_tar import TreeLimits
from forensics_core.api.order import Compression
from forensics_core.bundle.content import find_file, read_file
from forensics_core.bundle.fetch import fetch
from forensics_core.bundle.files import FileIndex, open_index
from forensics_core.bundle.manifest import Flag, NotCaptured, Statement
from forensics_core.bundle.reader import BundleReader, open_bundle
from forensics_core.bundle.verify import verify
from forensics_core.errors import ForensicsError, VerificationError
from forensics_core.tarindex.row import Row
from tests.integration.collector.folder_container import (
    Described,
    archive,
    capture_tree,
    described,
    extract,
    twins,
)
from tests.integration.collector.random_files import (
    Attributes,
    Entry,
    attributes,
    entries,
    make_tree,
)
from tests.integration.collector.tars import REAL, with_tar
from tests.unit.tarindex.archives import member, tar

MIB = 1024 * 1024
KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
}

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make these")


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
@settings(max_examples=50)
@given(attributes, st.lists(entries, max_size=9), st.sampled_from(Compression))
def test_any_tree_comes_back(
    own: Attributes, members: list[Entry], compression: Compression
) -> None:
    with TemporaryDirectory() as folder:
        top = Path(folder)
        make_tree(top / "tree", own, members)
        before = described(top / "tree")
        anyio.run(_round_trip, top, compression)
        assert described(top / "out") == before
        assert twins(top / "out") == twins(top / "tree")
        anyio.run(_compare, top / "tree", top / "bundle", before)


async def _round_trip(top: Path, compression: Compression) -> None:
    await capture_tree(top / "tree", str(top / "bundle"), compression)
    fetched = await fetch(str(top / "bundle"), top / "home", decompress=True)
    fetched.raise_for_problems()
    await anyio.to_thread.run_sync(extract, archive(top / "home"), top / "out")


async def _compare(tree: Path, location: Path, before: Mapping[bytes, Described]) -> None:
    async with opened(location) as (bundle, index):
        rows = {row.path: row for row in await rows_of(index)}
        assert {os.path.normpath(b"/" + path) for path in before} == rows.keys()
        for path, seen in before.items():
            row = rows[os.path.normpath(b"/" + path)]
            assert await index.find(row.path) == row
            assert row in await index.list(row.directory) or row.path == b"/"
            _compare_row(row, seen, (tree / os.fsdecode(path)).lstat())
            if stat.S_ISREG(seen.mode):
                assert await content(bundle, index, row.path) == seen.content
    assert not gaps(location)


def _compare_row(row: Row, seen: Described, said: os.stat_result) -> None:
    assert row.mode == stat.S_IMODE(seen.mode)
    assert (row.uid, row.gid) == seen.owner
    assert nanoseconds(row.mtime) == seen.mtime
    assert nanoseconds(row.ctime) == said.st_ctime_ns
    if row.kind == "hardlink":
        return
    assert row.kind == KINDS[stat.S_IFMT(seen.mode)]
    assert (row.size, row.target) == (seen.size, seen.target)
    assert row.document.get("device", [0, 0]) == [os.major(seen.device), os.minor(seen.device)]
    xattrs = row.document.get("xattrs", {})
    assert {name: exact(value) for name, value in xattrs.items()} == seen.xattrs
    assert ("acl" in row.document) == ("system.posix_acl_access" in seen.xattrs)
    if row.kind == "file":
        assert row.sha256 == hashlib.sha256(seen.content).hexdigest()
    if row.kind != "symlink":  # whoever reads where it leads changes its access time
        assert nanoseconds(row.atime) == said.st_atime_ns


def exact(value: str | dict[str, str]) -> bytes:
    """Return the bytes that a row of the index spells."""
    return value.encode() if isinstance(value, str) else base64.b64decode(value["base64"])


def nanoseconds(seconds: str) -> int:
    return int(Decimal(seconds) * 10**9)


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


async def test_sockets_without_a_row_are_counted(tree: Path, tmp_path: Path) -> None:
    here = os.open(tree, os.O_RDONLY)
    for number in range(3):
        make_socket(here, f"{number}.sock")
    os.close(here)
    await capture_tree(tree, str(tmp_path / "bundle"), limits=TreeLimits(socket_names=50))
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
    os.close(os.open("note", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    await capture_tree(tree, str(tmp_path / "bundle"))
    async with opened(tmp_path / "bundle") as (_, index):
        assert await index.find(b"/" + b"/".join([b"\xff" * 255] * 70) + b"/note")
    (gap,) = gaps(tmp_path / "bundle")
    assert gap.what == "files with very long names" and "about 1 members" in gap.message


def gaps(bundle: Path) -> tuple[NotCaptured, ...]:
    return Statement.from_bytes((bundle / "manifest.json").read_bytes()).predicate.not_captured


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TAR_OPTIONS", "--exclude-vcs"),
        ("TAR_OPTIONS", "--remove-files"),
        ("TAR_OPTIONS", "--exclude=*"),
        ("TAPE", "/nowhere"),
        ("POSIXLY_CORRECT", "1"),
        ("LD_PRELOAD", "/nowhere/evil.so"),
    ],
)
async def test_the_environment_does_not_change_the_archive(
    name: str, value: str, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / ".git").mkdir()
    (tree / ".git" / "HEAD").write_text("ref: refs/heads/main")
    monkeypatch.setenv(name, value)
    await capture_tree(tree, str(tmp_path / "bundle"))
    async with opened(tmp_path / "bundle") as (bundle, index):
        assert await content(bundle, index, b"/.git/HEAD") == b"ref: refs/heads/main"
    assert (tree / ".git" / "HEAD").exists() and not gaps(tmp_path / "bundle")


async def test_missing_attributes_are_a_gap(tree: Path, tmp_path: Path) -> None:
    """No disk breaks on demand: what tar says then is put beside what the real one does."""
    said = r'tar: "./etc": Warning: Cannot flistxattr: Input/output error'
    limits = with_tar(tmp_path, f"printf '%s\\n' '{said}' >&2\nexec {REAL} \"$@\"")
    await capture_tree(tree, str(tmp_path / "bundle"), limits=limits)
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
    assert [gap.reason for gap in gaps(location)] == ["Deadline", "Remote"]
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
    for _ in range(9_000):  # names that nothing compresses: a copy of their rows would be too large
        (tree / "etc" / os.urandom(120).hex()).touch()
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
        rows = bundle.objects["containers/web/rootfs.index.jsonl.zst"]
        assert 0 < read < (rows.size or 0) / 2


@pytest.fixture
async def bundle(tree: Path, tmp_path: Path) -> Path:
    """A captured bundle, to be spoiled."""
    await capture_tree(tree, str(tmp_path / "bundle"))
    return tmp_path / "bundle" / "containers" / "web"


async def read_large(location: Path) -> bytes:
    async with opened(location.parent.parent) as (reader, index):
        return await content(reader, index, b"/large")


@pytest.mark.parametrize("name", ["rootfs.tar.zst", "rootfs.lookup.jsonl.zst"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
async def test_what_is_truncated_is_named(bundle: Path, name: str, keep: float) -> None:
    path = bundle / name
    os.truncate(path, int(path.stat().st_size * keep))
    with pytest.raises(VerificationError, match=name):
        await read_large(bundle)
    found = await verify(str(bundle.parent.parent))
    assert [problem.name for problem in found.problems] == [f"containers/web/{name}"]


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 64] = bytes(64)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["rootfs.tar.zst", "rootfs.lookup.jsonl.zst"])
async def test_what_is_changed_is_named(bundle: Path, name: str) -> None:
    spoil(bundle / name)
    with pytest.raises(VerificationError, match=r"rootfs|/large"):
        await read_large(bundle)
    assert (await verify(str(bundle.parent.parent))).problems


async def test_an_index_that_is_damaged_is_read_from_its_copy_and_named_by_verify(
    bundle: Path,
) -> None:
    whole = await read_large(bundle)
    spoil(bundle / "rootfs.index.jsonl.zst")
    assert await read_large(bundle) == whole
    found = await verify(str(bundle.parent.parent))
    assert [one.name for one in found.problems] == ["containers/web/rootfs.index.jsonl.zst"]


@pytest.mark.parametrize(
    "damage", [spoil, lambda path: os.truncate(path, path.stat().st_size // 2)]
)
async def test_an_index_without_a_copy_that_is_damaged_is_named(
    tree: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    for _ in range(9_000):
        (tree / "etc" / os.urandom(120).hex()).touch()
    await capture_tree(tree, str(tmp_path / "bundle"))
    damage(tmp_path / "bundle/containers/web/rootfs.index.jsonl.zst")
    with pytest.raises(VerificationError, match=r"rootfs\.index\.jsonl\.zst"):
        async with opened(tmp_path / "bundle") as (_, index):
            await rows_of(index)


async def test_what_is_missing_is_named(bundle: Path) -> None:
    (bundle / "rootfs.tar.zst").unlink()
    with pytest.raises(ForensicsError, match=r"rootfs\.tar\.zst does not exist"):
        await read_large(bundle)


async def test_what_tar_read_before_it_gave_up_is_kept(tree: Path, tmp_path: Path) -> None:
    """Names of very deep directories take more memory than tar may have."""
    name = "d" * 250
    folder = os.open(tree, os.O_RDONLY)
    for _ in range(500):
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    await capture_tree(tree, str(tmp_path / "bundle"), limits=TreeLimits(memory=64 * MIB))
    await anyio.run_process(["rm", "-rf", str(tree)])
    capture = Statement.from_bytes((tmp_path / "bundle" / "manifest.json").read_bytes()).predicate
    (gap,) = [gap for gap in capture.not_captured if gap.requested]
    assert (gap.what, gap.reason) == ("rootfs.tar, a subtree", "SourceFailed")
    assert "memory exhausted" in gap.message
    flags = {artifact.name.split("/")[-1]: artifact.flags for artifact in capture.artifacts}
    assert Flag.TRUNCATED in flags["rootfs.tar.zst"]
    assert not (await verify(str(tmp_path / "bundle"))).problems
