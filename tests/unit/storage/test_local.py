"""Evidence in a folder: whole or not there, never overwritten."""

from __future__ import annotations

import base64
import errno
import os
import stat
from pathlib import Path

import anyio
import pytest

from forensics_core.errors import (
    AccessDenied,
    BucketNotFound,
    DestinationError,
    DestinationFull,
    ObjectExists,
    ObjectNotFound,
)
from forensics_core.storage.local import LocalStorage
from forensics_core.storage.objects import StoredObject
from forensics_core.storage.storage import open_destination
from tests.unprivileged import READING, without


async def store(folder: Path, name: str, data: bytes) -> StoredObject:
    async with open_destination(folder.as_uri()) as destination:
        await destination.check()
        assert destination.url == folder.as_uri() + "/"
        async with destination.create(name) as writer:
            await writer.write(data)
            return await writer.commit()


async def test_a_committed_file_is_there_with_its_checksum(tmp_path: Path) -> None:
    stored = await store(tmp_path / "new", "containers/web/x.bin", b"123456789")
    assert (tmp_path / "new/containers/web/x.bin").read_bytes() == b"123456789"
    assert stored.size == 9
    # The check value of CRC-64/NVME in its definition.
    assert stored.crc64nvme == base64.b64encode(bytes.fromhex("ae8b14860a799888")).decode()


async def test_without_a_commit_nothing_is_left(tmp_path: Path) -> None:
    async with LocalStorage(tmp_path).create("x") as writer:
        await writer.write(b"abc")
    assert list(tmp_path.iterdir()) == []


async def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"before")
    with pytest.raises(ObjectExists, match="exists already"):
        await store(tmp_path, "x", b"after")
    assert (tmp_path / "x").read_bytes() == b"before"


async def test_a_name_taken_while_writing_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(ObjectExists):
        async with LocalStorage(tmp_path).create("x") as writer:
            await writer.write(b"ours")
            (tmp_path / "x").write_bytes(b"theirs")
            await writer.commit()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"theirs")]


@pytest.mark.parametrize("taken", [False, True])
async def test_a_drive_without_hard_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "not permitted")

    monkeypatch.setattr(os, "link", no_links)
    if not taken:
        await store(tmp_path, "x", b"abc")
        assert (tmp_path / "x").read_bytes() == b"abc"
        return
    with pytest.raises(ObjectExists):
        async with LocalStorage(tmp_path).create("x") as writer:
            (tmp_path / "x").write_bytes(b"theirs")
            await writer.commit()


SYNC = os.fsync


def is_folder(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
async def test_a_drive_that_cannot_sync_folders_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_folders(descriptor: int) -> None:
        if is_folder(descriptor):
            raise OSError(number, os.strerror(number))
        SYNC(descriptor)

    monkeypatch.setattr(os, "fsync", no_folders)
    await store(tmp_path / "new", "x", b"abc")
    assert (tmp_path / "new/x").read_bytes() == b"abc"


async def test_a_folder_that_cannot_be_synced_for_a_failing_disk_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(descriptor: int) -> None:
        if is_folder(descriptor):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(DestinationError, match="Check the disk"):
        await store(tmp_path, "x", b"abc")


async def test_new_folders_are_synced_as_what_lies_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []

    def notes(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        SYNC(descriptor)

    monkeypatch.setattr(os, "fsync", notes)
    await store(tmp_path, "a/b/x", b"abc")
    folders = [tmp_path, tmp_path / "a", tmp_path / "a/b"]
    assert synced == [*folders[:2], folders[2] / "x.unfinished", folders[2]]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, DestinationFull),
        (errno.EDQUOT, DestinationFull),
        (errno.EROFS, AccessDenied),
        (errno.EACCES, AccessDenied),
        (errno.EIO, DestinationError),
    ],
)
async def test_failures_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[DestinationError]
) -> None:
    def fails(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(expected) as caught:
        await store(tmp_path, "x", b"abc")
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


async def test_a_file_in_place_of_the_folder_is_refused_early(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BucketNotFound, match="is not a folder"):
        await LocalStorage(tmp_path / "file" / "below").check()


@pytest.mark.parametrize("umask", [0o022, 0o000])
async def test_only_the_owner_may_read_evidence(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        await store(tmp_path, "x", b"secret")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give folders away")
def test_a_folder_that_cannot_be_looked_at_is_refused_early(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0)
    os.chown(tmp_path / "theirs", 1234, 1234)
    check = LocalStorage(tmp_path / "theirs/below").check
    with pytest.raises(AccessDenied, match="cannot be written"):
        without(*READING, action=lambda: anyio.run(check))


async def test_a_folder_that_cannot_be_written_is_refused_early() -> None:
    with pytest.raises(AccessDenied, match="cannot be written"):
        await LocalStorage(Path("/proc/1/nothing")).check()


async def test_a_file_is_asked_for_without_reading_it_and_no_link_is_followed(
    tmp_path: Path,
) -> None:
    await store(tmp_path, "logs/0.log", b"twelve bytes")
    (tmp_path / "link").symlink_to("logs/0.log")
    storage = LocalStorage(tmp_path)
    assert await storage.stat("logs/0.log") == StoredObject("logs/0.log", 12)
    with pytest.raises(ObjectNotFound, match="does not exist"):
        await storage.stat("none")
    with pytest.raises(DestinationError, match="not a regular file"):
        await storage.stat("link")
