"""A file system becomes an archive that holds everything tar can hold, and names the rest."""

from __future__ import annotations

import io
import os
import shutil
import socket
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from collector.files.gnu_tar import TREE_LIMITS, TreeLimits, TreeReading, read_tree
from collector.runtimes.runtime import Unavailable
from forensics_core.bundle.manifest import Flag
from forensics_core.errors import SourceError
from tests.integration.collector.random_files import access_list
from tests.integration.collector.tars import with_tar

MIB = 1024 * 1024
ODD_NAMES = (b"line\nbreak", b"\x1b[31mred\x1b[0m", b"not-utf8-\xff\xfe", b"-rf ~", b'q"\\: x')

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make these")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    folder = tmp_path / "top"
    folder.mkdir()
    return folder


@pytest.fixture
def descriptor(top: Path) -> Iterator[int]:
    number = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    yield number
    os.close(number)


async def archive(reading: TreeReading) -> tarfile.TarFile:
    data = b"".join([block async for block in reading.blocks])
    return tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape")


async def read(
    descriptor: int, limits: TreeLimits = TREE_LIMITS
) -> tuple[tarfile.TarFile, TreeReading]:
    async with read_tree(descriptor, limits) as reading:
        return await archive(reading), reading


async def test_names_of_any_bytes(top: Path, descriptor: int) -> None:
    for name in ODD_NAMES:
        (top / os.fsdecode(name)).write_bytes(name)
    tar, reading = await read(descriptor)
    for name in ODD_NAMES:
        file = tar.extractfile("./" + os.fsdecode(name))
        assert file and file.read() == name
    assert not reading.tar_stderr.notes.remarks


async def test_links_holes_attributes_and_times(top: Path, descriptor: int) -> None:
    (top / "one").write_bytes(b"twice")
    (top / "two").hardlink_to(top / "one")
    (top / "out").symlink_to("/etc/passwd")
    with (top / "sparse").open("wb") as file:
        file.seek(64 * MIB)
        file.write(b"end")
    os.setxattr(top / "one", b"user.origin", b"\x00\xffhere")
    os.utime(top / "one", ns=(1, 1_234_567_890_123_456_789))
    tar, _ = await read(descriptor)
    first, second = (tar.getmember(name) for name in ("./one", "./two"))
    assert {first.islnk(), second.islnk()} == {True, False}
    plain = second if first.islnk() else first
    assert plain.pax_headers["mtime"] == "1234567890.123456789"
    kept = plain.pax_headers["SCHILY.xattr.user.origin"]
    assert kept.encode(errors="surrogateescape") == b"\x00\xffhere"
    assert tar.getmember("./out").linkname == "/etc/passwd"
    sparse = tar.getmember("./sparse")
    assert sparse.size == 64 * MIB + 3
    assert isinstance(tar.fileobj, io.BytesIO)
    assert len(tar.fileobj.getvalue()) < MIB


@root_only
async def test_devices_fifos_and_sockets(top: Path, descriptor: int) -> None:
    os.mknod(top / "null", 0o20666, os.makedev(1, 3))
    os.mknod(top / "disk", 0o60660, os.makedev(7, 99))
    os.mkfifo(top / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{descriptor}/app.sock")
    tar, reading = await read(descriptor)
    assert tar.getmember("./null").ischr() and tar.getmember("./disk").isblk()
    assert (tar.getmember("./disk").devmajor, tar.getmember("./disk").devminor) == (7, 99)
    assert tar.getmember("./pipe").isfifo()
    assert reading.tar_stderr.sockets.first == ["./app.sock"]


@root_only
async def test_access_lists_name_nobody_of_this_machine(top: Path, descriptor: int) -> None:
    (top / "file").touch()
    os.setxattr(top / "file", "system.posix_acl_access", access_list(1, 2, 5))
    assert access_text(await read(descriptor)) == ["user:1:r-x", "group:2:r-x"]


@root_only
@pytest.mark.parametrize("refusing", [True, False])
async def test_without_a_mount_namespace_access_lists_are_kept_all_the_same(
    top: Path, descriptor: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusing: bool
) -> None:
    (tmp_path / "tar").symlink_to(shutil.which("tar") or "")
    if refusing:
        (tmp_path / "unshare").symlink_to("/bin/false")
    monkeypatch.delenv("PATH")
    (top / "file").touch()
    os.setxattr(top / "file", "system.posix_acl_access", access_list(7777, 8888, 5))
    found = await read(descriptor, TreeLimits(folders=(str(tmp_path),)))
    assert access_text(found) == ["user:7777:r-x", "group:8888:r-x"]


def access_text(found: tuple[tarfile.TarFile, TreeReading]) -> list[str]:
    """Return the rows of `file`'s access list that are about somebody."""
    lines = found[0].getmember("./file").pax_headers["SCHILY.acl.access"].split()
    return [line for line in lines if "::" not in line]


async def test_empty_and_huge_directories(top: Path, descriptor: int) -> None:
    (top / "empty").mkdir()
    (top / "huge").mkdir()
    for number in range(5_000):
        (top / "huge" / f"{number:05d}").touch()
    tar, _ = await read(descriptor)
    names = tar.getnames()
    assert tar.getmember("./empty").isdir()
    assert sum(name.startswith("./huge/") for name in names) == 5_000


async def test_reading_leaves_access_times_alone(top: Path, descriptor: int) -> None:
    (top / "file").write_bytes(b"x" * MIB)
    os.utime(top / "file", ns=(10**18, 10**18))
    await read(descriptor)
    assert (top / "file").stat().st_atime_ns == 10**18


async def middle(
    reading: TreeReading, disturb: Callable[[bytes], None]
) -> tuple[tarfile.TarFile, TreeReading]:
    """Read one block, disturb the tree, and read on; tar cannot be more than a pipe ahead."""
    first = bytes(await anext(reading.blocks))
    disturb(first)
    rest = [block async for block in reading.blocks]
    return tarfile.open(fileobj=io.BytesIO(first + b"".join(rest))), reading


async def test_a_file_that_shrinks_is_padded_and_flagged(top: Path, descriptor: int) -> None:
    (top / "log").write_bytes(b"x" * 16 * MIB)
    async with read_tree(descriptor) as reading:
        tar, _ = await middle(reading, lambda _: os.truncate(top / "log", 100))
    assert tar.getmember("./log").size == 16 * MIB
    notes = reading.tar_stderr.notes
    assert notes.flags == {Flag.CHANGED_WHILE_READ}
    assert [remark.path for remark in notes.remarks] == ["./log"]
    assert "shrank" in notes.remarks[0].message


async def test_a_file_that_grows_is_cut_at_its_promised_length(top: Path, descriptor: int) -> None:
    (top / "log").write_bytes(b"x" * 16 * MIB)

    def grow(_: bytes) -> None:
        with (top / "log").open("ab") as file:
            file.write(b"y" * MIB)

    async with read_tree(descriptor) as reading:
        tar, _ = await middle(reading, grow)
    file = tar.extractfile("./log")
    assert file and file.read() == b"x" * 16 * MIB
    assert reading.tar_stderr.notes.flags == {Flag.CHANGED_WHILE_READ}


async def test_a_file_that_vanishes_is_named(top: Path, descriptor: int) -> None:
    for name in ("first", "second"):
        (top / name).write_bytes(b"x" * 16 * MIB)
    gone = []

    def remove_the_other(block: bytes) -> None:
        gone.append("second" if b"./first" in block else "first")
        (top / gone[0]).unlink()

    async with read_tree(descriptor) as reading:
        tar, _ = await middle(reading, remove_the_other)
    assert f"./{gone[0]}" not in tar.getnames()
    notes = reading.tar_stderr.notes
    assert notes.flags == {Flag.CHANGED_WHILE_READ}
    assert f"./{gone[0]}" in [remark.path for remark in notes.remarks]


async def test_a_directory_that_is_renamed_before_it_is_read_is_told(
    top: Path, descriptor: int
) -> None:
    for name in ("first", "second"):
        (top / name / "inner").mkdir(parents=True)
        (top / name / "large").write_bytes(b"x" * 16 * MIB)
    moved = []

    def move_the_other(block: bytes) -> None:
        moved.append("second" if b"./first" in block else "first")
        other = "first" if moved[0] == "second" else "second"
        (top / moved[0]).rename(top / other / "inner/loop")

    async with read_tree(descriptor) as reading:
        tar, _ = await middle(reading, move_the_other)
    names = tar.getnames()
    notes = reading.tar_stderr.notes
    told = f"./{moved[0]}" in [remark.path for remark in notes.remarks]
    assert told and notes.flags == {Flag.CHANGED_WHILE_READ}
    assert len(names) == len(set(names)) and not reading.losses


async def test_symbolic_links_are_never_followed(top: Path, descriptor: int) -> None:
    (top / "escape").symlink_to("/etc", target_is_directory=True)
    tar, _ = await read(descriptor)
    assert sorted(tar.getnames()) == [".", "./escape"]


async def test_leaving_early_ends_the_child(top: Path, descriptor: int) -> None:
    (top / "large").write_bytes(b"x" * 16 * MIB)
    async with read_tree(descriptor) as reading:
        await anext(reading.blocks)
        assert _children()
    assert not _children()


async def test_cancelling_ends_the_child(top: Path, descriptor: int) -> None:
    (top / "large").write_bytes(b"x" * 16 * MIB)
    with anyio.CancelScope() as scope:
        async with read_tree(descriptor) as reading:
            await anext(reading.blocks)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught and not _children()


def _children() -> list[int]:
    """Return the children of this process that are a tar."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text() == "tar\n"]


def kill(_: bytes) -> None:
    for number in _children():
        os.kill(number, 9)


async def test_what_follows_a_tar_that_is_killed_is_read_by_another(
    top: Path, descriptor: int
) -> None:
    for name in ("first", "second", "third"):
        (top / name).write_bytes(b"x" * 16 * MIB)
    async with read_tree(descriptor) as reading:
        tar, _ = await middle(reading, kill)
    assert sorted(tar.getnames()) == [".", "./first", "./second", "./third"]
    (loss,) = reading.losses
    assert loss.cut and "it ended with -9" in loss.why
    for member in tar.getmembers()[1:]:
        file = tar.extractfile(member)
        assert file and (file.read() == b"x" * 16 * MIB) == (
            member.name != f".{loss.path.decode()}"
        )
    assert reading.tar_stderr.notes.flags == {Flag.TRUNCATED}


async def test_a_tar_that_dies_before_it_wrote_anything_is_a_failure(
    descriptor: int, tmp_path: Path
) -> None:
    limits = with_tar(tmp_path, "kill -9 $$")
    with pytest.raises(SourceError, match="tar could not read the file system"):
        async with read_tree(descriptor, limits) as reading:
            await archive(reading)


async def test_a_root_that_is_gone_is_a_failure(top: Path, descriptor: int) -> None:
    shutil.rmtree(top)
    async with read_tree(descriptor) as reading:
        tar = await archive(reading)
    assert tar.getnames() == ["."]


async def test_without_gnu_tar(descriptor: int, monkeypatch: pytest.MonkeyPatch, top: Path) -> None:
    nowhere = TreeLimits(folders=())
    monkeypatch.setenv("PATH", str(top))
    with pytest.raises(Unavailable, match="GNU tar is not installed"):
        async with read_tree(descriptor, nowhere):
            pass
    (top / "tar").symlink_to("/bin/true")
    with pytest.raises(Unavailable, match="GNU tar is not installed"):
        async with read_tree(descriptor, nowhere):
            pass
