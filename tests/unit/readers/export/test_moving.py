"""Archives whose members are moved into a folder while they pass."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from forensics_core.errors import VerificationError
from forensics_core.readers.export.archives import RECORD, end_of, without_end
from forensics_core.readers.export.moving import moved

LONG = "d/" * 120 + "long"


def archive(form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    pax = {"SCHILY.xattr.user.x": "a\nb" * 300} if form == tarfile.PAX_FORMAT else {}
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name in ("./", "./etc/", "./etc/passwd", LONG, "raw\udcff"):
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            member.size = 0 if member.isdir() else 700
            member.pax_headers = dict(pax)
            tar.addfile(member, io.BytesIO(b"x" * 700))
        for name, kind in (("soft", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, LONG if kind == tarfile.SYMTYPE else "etc/passwd"
            tar.addfile(member)
    return out.getvalue()


async def move(data: bytes, size: int = 10_240) -> bytes:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), size):
            yield data[start : start + size]

    records = without_end(pieces(), "x.tar")
    out = b"".join([piece async for piece in moved(records, b"[root]/", "x.tar")])
    return out + end_of(len(out))


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("size", [RECORD, 700, 1 << 20])
async def test_all_members_are_in_the_folder_whatever_their_format(form: int, size: int) -> None:
    if form == tarfile.USTAR_FORMAT:
        data = archive(tarfile.GNU_FORMAT)[: 2 * RECORD] + bytes(10 * RECORD)
    else:
        data = archive(form)
    with tarfile.open(fileobj=io.BytesIO(data)) as before:
        expected = before.getmembers()
        read = {m.name: f.read() for m in expected if m.isreg() and (f := before.extractfile(m))}
    with tarfile.open(fileobj=io.BytesIO(await move(data, size))) as after:
        found = after.getmembers()
        names = [m.name for m in found]
        assert names == ["[root]" if m.name == "." else _within(m.name) for m in expected]
        for old, new in zip(expected, found, strict=True):
            file = after.extractfile(new) if new.isreg() else None
            assert not file or file.read() == read[old.name]
            linked = _within(old.linkname) if old.islnk() else old.linkname
            assert (new.linkname, new.type, new.mode) == (linked, old.type, old.mode)
            kept = new.pax_headers.get("SCHILY.xattr.user.x")
            assert kept == old.pax_headers.get("SCHILY.xattr.user.x")


def _within(name: str) -> str:
    return "[root]/" + name.removeprefix("./")


def test_sparse_files_keep_holes_and_name(tmp_path: Path) -> None:
    with (tmp_path / "holes").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
    made = tmp_path / "made.tar"
    command = ["tar", "--format=pax", "-S", "-cf", str(made), "-C", str(tmp_path), "./holes"]
    subprocess.run(command, check=True)
    (tmp_path / "moved.tar").write_bytes(anyio.run(move, made.read_bytes()))
    with tarfile.open(tmp_path / "moved.tar") as tar:
        (member,) = tar.getmembers()
        content = tar.extractfile(member)
        assert member.name == "[root]/holes" and member.size == (1 << 20) + 3
        assert content and content.read().strip(b"\0") == b"end"
    listed = subprocess.run(["tar", "tf", tmp_path / "moved.tar"], capture_output=True, check=True)
    assert listed.stdout == b"[root]/holes\n" and not listed.stderr


def extension(kind: bytes, size: int, data: bytes) -> bytes:
    member = tarfile.TarInfo("x")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT) + data


async def test_headers_for_all_members_count_and_endless_ones_are_passed_over() -> None:
    told = b"23 comment=of them all\n"
    many = 16 * 1024 * 1024 + RECORD
    data = (
        extension(tarfile.XGLTYPE, len(told), told.ljust(RECORD, b"\0"))
        + extension(b"V", RECORD, bytes(RECORD))
        + extension(tarfile.XHDTYPE, many, bytes(many))
        + archive()
    )
    out = await move(data, 1 << 20)
    assert len(out) < 64 * 1024
    with tarfile.open(fileobj=io.BytesIO(out)) as tar:
        assert {m.pax_headers["comment"] for m in tar} == {"of them all"}


async def test_what_is_no_archive_is_not_moved() -> None:
    async def piece() -> AsyncIterator[bytes]:
        yield b"x" * RECORD

    with pytest.raises(VerificationError, match=r"x\.tar is not a tar archive"):
        [each async for each in moved(piece(), b"[root]/", "x.tar")]
