"""An archive of several trees, read by GNU tar and by our own index alike."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest

from collector.files import pax
from collector.files.mountarchive import MountArchive, OpenMount
from forensics_core.tarindex.member import Member
from forensics_core.tarindex.walk import TarWalk
from tests.unprivileged import READING, without

NAME = b"odd\xff\n=%"


@contextmanager
def opened(path: Path, at: bytes = b"/t", *, single: bool = False) -> Iterator[OpenMount]:
    place = os.open(path, os.O_PATH)
    try:
        yield OpenMount(at, place, single)
    finally:
        os.close(place)


def archived(path: Path, archive: MountArchive | None = None, *, single: bool = False) -> bytes:
    with opened(path, single=single) as top:
        return b"".join((archive or MountArchive()).blocks([top]))


def members(data: bytes) -> dict[bytes, Member]:
    found: dict[bytes, Member] = {}

    def add(member: Member) -> None:
        found[member.path] = member

    walk = TarWalk(add)
    walk.feed(data)
    walk.finish()
    return found


def test_every_kind_of_file_keeps_what_it_has(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"x" * 1000)
    os.link(deep / "file", tmp_path / "again")
    (tmp_path / "link").symlink_to("/etc/" + "p" * 150)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "pipe").chmod(0o620)
    (tmp_path / os.fsdecode(NAME)).write_bytes(b"odd")
    os.setxattr(tmp_path / os.fsdecode(NAME), "user.a=b%", b"\0\xff")
    os.utime(tmp_path / os.fsdecode(NAME), ns=(1, -1_500_000_000))
    data = archived(tmp_path)
    found = members(data)
    odd = found[b"/t/" + NAME]
    assert (odd.size, odd.mtime, odd.xattrs) == (3, "-1.5", {b"user.a=b%": b"\0\xff"})
    assert found[b"/t/link"].target == b"/etc/" + b"p" * 150
    assert found[b"/t/pipe"].kind == "fifo" and found[b"/t/pipe"].mode == 0o620
    file = b"/t/" + os.fsencode(str(deep.relative_to(tmp_path))) + b"/file"
    assert {found[file].kind, found[b"/t/again"].kind} == {"file", "hardlink"}
    listed = subprocess.run(["tar", "-tf", "-"], input=data, capture_output=True, check=True)
    assert listed.stderr == b"" and len(listed.stdout.splitlines()) == len(found)
    with tarfile.open(fileobj=BytesIO(data)) as tar:
        again = tar.extractfile("./t/again")
        assert again and again.read() == b"x" * 1000


def test_a_socket_is_counted(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
    archive = MountArchive()
    assert set(members(archived(tmp_path, archive))) == {b"/t"} and archive.sockets == 1


def test_a_single_file_has_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    archive = MountArchive()
    assert members(archived(tmp_path, archive, single=True)) == {}
    assert archive.losses[b"/t"].why == "it is not a regular file"
    assert set(members(archived(tmp_path / "file", single=True))) == {b"/t"}


def test_members_past_the_limit_are_missing_and_counted(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / str(number)).touch()
    archive = MountArchive(members=5)
    assert len(members(archived(tmp_path, archive))) == 5
    assert "members at most" in archive.losses[b"/t"].why


def test_a_path_past_the_limit_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").touch()
    archive = MountArchive(max_path=2)
    assert set(members(archived(tmp_path, archive))) == {b"/t", b"/t/a", b"/t/a/b"}
    assert archive.losses[b"/t"].missing.first == ["/t/a/b"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may set these")
def test_attributes_of_a_symbolic_link_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    os.setxattr(tmp_path / "file", "trusted.of", b"file")
    (tmp_path / "link").symlink_to("file")
    os.setxattr(tmp_path / "link", "trusted.of", b"link", follow_symlinks=False)
    found = members(archived(tmp_path))
    assert found[b"/t/link"].xattrs == {b"trusted.of": b"link"}
    assert found[b"/t/file"].xattrs == {b"trusted.of": b"file"}


def test_attributes_that_cannot_be_read_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"content")
    os.setxattr(tmp_path / "file", "user.a", b"b")
    for code, told in ((errno.ENODATA, 0), (errno.EPERM, 1)):
        monkeypatch.setattr(os, "getxattr", _failing(code))
        archive = MountArchive()
        assert members(archived(tmp_path, archive))[b"/t/file"].size == 7
        loss = archive.losses[b"/t"]
        assert loss.missing.total == told and ("attributes" in loss.why) == bool(told)


def archived_meanwhile(
    path: Path, archive: MountArchive, after: bytes, act: Callable[[], object]
) -> bytes:
    """Archive a folder a part at a time; act once the headers of the member `after` have passed."""
    archive.batch, data = 1, b""
    with opened(path) as top:
        for block in archive.blocks([top]):
            data += block
            if after and after + b"\0" in block:
                act()
                after = b""
    assert not after, "it never passed"
    return data


def test_what_is_gone_by_now_is_nobodys_loss(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").touch()
    for name in "ab":
        (tmp_path / "tree" / name).mkdir()

    def swap() -> None:
        (tmp_path / "tree/b").rename(tmp_path / "moved")
        (tmp_path / "tree/c").symlink_to(tmp_path / "outside")

    archive = MountArchive()
    data = archived_meanwhile(tmp_path / "tree", archive, b"./t/a/", swap)
    assert set(members(data)) == {b"/t", b"/t/a"}
    assert archive.losses[b"/t"].missing.total == 0


def test_a_directory_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "tree/a").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").touch()

    def link() -> None:
        (tmp_path / "tree/a").rmdir()
        (tmp_path / "tree/a").symlink_to(tmp_path / "outside")

    archive = MountArchive()
    data = archived_meanwhile(tmp_path / "tree", archive, b"./t/a/", link)
    assert set(members(data)) == {b"/t", b"/t/a"}
    assert archive.losses[b"/t"].missing.first == ["/t/a"]


def test_a_file_that_shrinks_or_grows_is_padded_or_cut_and_flagged(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"x" * 5000)
    archive = MountArchive()
    data = archived_meanwhile(tmp_path, archive, b"./t/log", lambda: file.write_bytes(b"y" * 100))
    with tarfile.open(fileobj=BytesIO(data)) as tar:
        log = tar.extractfile("./t/log")
        assert log and log.read() == b"y" * 100 + bytes(4900)
    assert archive.changed.first == ["/t/log"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_file_that_cannot_be_opened_is_missing(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    (tmp_path / "x").chmod(0)
    os.chown(tmp_path / "x", 1234, 1234)
    archive = MountArchive()
    data = without(*READING, action=lambda: archived(tmp_path, archive))
    assert set(members(data)) == {b"/t"}
    loss = archive.losses[b"/t"]
    assert (loss.size, loss.why, str(loss.missing)) == (5, "Permission denied", "/t/x")


def test_attributes_that_cannot_be_had_are_left_out_and_other_errors_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = os.open(tmp_path, os.O_PATH)
    try:
        monkeypatch.setattr(os, "listxattr", _failing(errno.EOPNOTSUPP))
        assert pax.attributes(place) == []
        monkeypatch.setattr(os, "listxattr", _failing(5))
        with pytest.raises(OSError, match="5"):
            pax.attributes(place)
    finally:
        os.close(place)


def _failing(code: int) -> object:
    def fail(*_: object) -> list[str]:
        raise OSError(code, str(code))

    return fail


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_links_of_one_number_on_two_devices_are_two_files(tmp_path: Path) -> None:
    """The layers of an overlay have devices of their own, and their numbers may be the same."""
    layers = [tmp_path / name for name in ("lower", "upper")]
    for layer in layers:
        layer.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", layer], check=True)
    merged = tmp_path / "merged"
    merged.mkdir()
    try:
        for layer in layers:
            for folder in ("data", "work"):
                (layer / folder).mkdir()
            file = layer / "data" / layer.name
            file.write_text(layer.name)
            os.link(file, f"{file}2")
        assert len({(each / "data" / each.name).stat().st_ino for each in layers}) == 1
        options = f"lowerdir={layers[0]}/data,upperdir={layers[1]}/data,workdir={layers[1]}/work"
        subprocess.run(
            ["mount", "-t", "overlay", "-o", f"xino=off,{options}", "overlay", merged], check=True
        )
        found = members(archived(merged))
    finally:
        for place in (merged, *layers):
            subprocess.run(["umount", place], check=False)
    targets = {name.rpartition(b"/")[2][:5] for name, each in found.items() if each.size == 5}
    assert targets == {b"lower", b"upper"}
