"""Files that are held, deleted, and archived all the same."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import tarfile
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from collector.files.safe_open import FOLDER, opened
from collector.files.upper import HeldUpper, hold_upper
from tests.unprivileged import READING, without

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make these")


async def archived(held: HeldUpper) -> tarfile.TarFile:
    data = b"".join([block async for block in held.archive()])
    return tarfile.open(fileobj=io.BytesIO(data))


async def emptied(folder: Path) -> None:
    await to_thread.run_sync(shutil.rmtree, folder)


async def test_deleted_files_are_archived_with_their_content(tmp_path: Path) -> None:
    top = tmp_path / "upper"
    (top / "etc" / "deep").mkdir(parents=True)
    (top / "etc" / "deep" / "large").write_bytes(os.urandom(600_000))
    (top / "etc" / os.fsdecode(b"odd\xff")).write_bytes(b"x")
    (top / "link").symlink_to("/etc/shadow")
    os.mkfifo(top / "pipe")
    (top / "etc" / "deep").chmod(0o2750)
    os.utime(top / "link", (1, 1.5), follow_symlinks=False)
    content = (top / "etc" / "deep" / "large").read_bytes()
    with opened(os.open(top, FOLDER)) as upper:
        async with hold_upper(upper) as held:
            await emptied(top)
            tar = await archived(held)
    large = tar.extractfile("./etc/deep/large")
    assert held.complete and large and large.read() == content
    assert tar.getmember("./link").linkname == "/etc/shadow"
    assert tar.getmember("./link").mtime == 1.5
    assert tar.getmember("./etc/deep").mode == 0o2750 and tar.getmember("./pipe").isfifo()
    assert "./etc/odd\udcff" in tar.getnames()


@root_only
async def test_times_and_attributes_are_exact(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/nowhere")
    os.setxattr(tmp_path / "link", "trusted.a=b%", b"\0\xff", follow_symlinks=False)
    os.utime(tmp_path / "link", ns=(1, 1_234_567_890_123_456_789), follow_symlinks=False)
    with opened(os.open(tmp_path, FOLDER)) as upper:
        async with hold_upper(upper) as held:
            tar = await archived(held)
    told = tar.getmember("./link").pax_headers
    assert told["mtime"] == "1234567890.123456789"
    assert os.fsencode(told["SCHILY.xattr.trusted.a%3Db%25"]) == b"\0\xff"


@root_only
async def test_what_cannot_be_read_is_zeros_and_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1000)
    with opened(os.open(tmp_path, FOLDER)) as upper:
        async with hold_upper(upper) as held:
            os.truncate(tmp_path / "file", 10)
            short = HeldUpper(held.places, complete=True)
            await archived(short)
            assert not short.unread.total
            (tmp_path / "file").chmod(0)
            os.chown(tmp_path / "file", 1234, 1234)
            tar = await to_thread.run_sync(
                lambda: without(*READING, action=lambda: anyio.run(archived, held))
            )
    file = tar.extractfile("./file")
    assert file and file.read() == bytes(10) and held.unread.first == ["file"]


@root_only
async def test_whiteouts_and_attributes_are_kept_as_the_overlay_has_them(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.setxattr(tmp_path / "folder", "trusted.overlay.opaque", b"y")
    os.setxattr(tmp_path / "folder", "user.odd", b"\0\xff\n")
    os.mknod(tmp_path / "gone", 0o020000, os.makedev(0, 0))
    with opened(os.open(tmp_path, FOLDER)) as upper:
        async with hold_upper(upper) as held:
            tar = await archived(held)
    headers = tar.getmember("./folder").pax_headers
    assert headers["SCHILY.xattr.trusted.overlay.opaque"] == "y"
    assert headers["SCHILY.xattr.user.odd"] == "\0\udcff\n"
    assert tar.getmember("./gone").ischr()


async def test_gnu_tar_reads_the_archive(tmp_path: Path) -> None:
    (tmp_path / ("long" * 50)).mkdir()
    (tmp_path / ("long" * 50) / "file").write_bytes(b"content")
    with opened(os.open(tmp_path, FOLDER)) as upper:
        async with hold_upper(upper) as held:
            data = b"".join([block async for block in held.archive()])

    def read() -> bytes:
        command = ["tar", "-xOf", "-"]
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout

    assert await to_thread.run_sync(read) == b"content"


async def test_a_file_that_shrinks_does_not_spoil_the_archive(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode() * 2000)
    with opened(os.open(tmp_path, FOLDER)) as upper:
        async with hold_upper(upper) as held:
            blocks = held.archive()
            data = await anext(blocks)
            first = held.places[0][0].decode()
            os.truncate(tmp_path / first, 10)
            data += b"".join([block async for block in blocks])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        read = tar.extractfile(f"./{first}")
        assert len(tar.getnames()) == 2 and read
        assert read.read() == first.encode() * 10 + bytes(1990)


async def test_no_more_than_the_limit_is_held(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / str(number)).touch()
    with opened(os.open(tmp_path, FOLDER)) as upper:
        async with hold_upper(upper, 10) as held:
            assert held.complete and len(held.places) == 10
        async with hold_upper(upper, 9) as held:
            assert not held.complete and len(held.places) == 9


async def test_folders_that_are_not_reached_are_closed(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / str(number)).mkdir()
    with opened(os.open(tmp_path, FOLDER)) as upper:
        before = len([*Path("/proc/self/fd").iterdir()])
        async with hold_upper(upper, 5) as held:
            assert not held.complete
        assert len([*Path("/proc/self/fd").iterdir()]) == before


async def test_sockets_are_named_with_a_row_each_and_not_archived(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as listening, opened(os.open(tmp_path, FOLDER)) as upper:
        listening.bind(str(tmp_path / "run/s"))
        (tmp_path / "run/s").chmod(0o640)
        async with hold_upper(upper) as held:
            await emptied(tmp_path / "run")
            assert (await archived(held)).getnames() == ["./run"]
            (row,) = held.socket_members()
    assert (row.path, row.kind, row.mode) == (b"/run/s", "socket", 0o640)
    assert held.sockets.first == ["run/s"]


@root_only
async def test_what_could_not_be_opened_is_named_and_not_taken_for_all(tmp_path: Path) -> None:
    """As where more files are open than may be: that is no sign that there was nothing."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_text("x")
    (tmp_path / "folder").chmod(0)
    os.chown(tmp_path / "folder", 1234, 1234)

    async def hold() -> str:
        with opened(os.open(tmp_path, FOLDER)) as upper:
            async with hold_upper(upper) as held:
                assert [path for path, _ in held.places] == [b"folder"]
                return str(held.unheld)

    look = partial(without, *READING, action=lambda: anyio.run(hold))
    assert await to_thread.run_sync(look) == "folder"


@root_only
async def test_entries_without_all_their_attributes_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.setxattr(tmp_path / "file", "user.mark", b"1")
    (tmp_path / "file").chmod(0)
    os.chown(tmp_path / "file", 1234, 1234)
    with opened(os.open(tmp_path, FOLDER)) as upper:
        async with hold_upper(upper) as held:
            await to_thread.run_sync(
                lambda: without(*READING, action=lambda: anyio.run(archived, held))
            )
    assert str(held.bare) == "file"
