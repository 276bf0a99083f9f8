from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from bench.recall.outputs import chunks, streams

TEXT = b"found " * 1000


def zipped(content: bytes, name: str = "member") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def frames(content: bytes) -> bytes:
    return b"".join(zstandard.compress(part) for part in (content[:999], content[999:]))


@pytest.mark.parametrize(
    "pack", [bytes, frames, gzip.compress, bz2.compress, lzma.compress, zipped]
)
def test_whatever_is_packed_is_read(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(pack(TEXT))
    ((name, content),) = [(name, b"".join(chunks(source, 0))) for name, source in streams(tmp_path)]
    assert name.startswith("deep/file") and content == TEXT


def test_archives_in_archives_are_opened_to_a_depth(tmp_path: Path) -> None:
    packed = TEXT
    for _ in range(3):
        packed = zipped(gzip.compress(packed) if packed is TEXT else packed)
    (tmp_path / "file").write_bytes(packed)
    ((name, content),) = [(name, b"".join(chunks(source, 0))) for name, source in streams(tmp_path)]
    assert (name, content) == ("file/member/member/member", TEXT)
    (tmp_path / "file").write_bytes(zipped(zipped(packed)))
    ((_, content),) = [(name, b"".join(chunks(source, 0))) for name, source in streams(tmp_path)]
    assert content.startswith(b"PK")


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert list(streams(tmp_path)) == []


def test_each_piece_begins_with_the_end_of_the_one_before() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(3)

    assert list(chunks(Slow(b"abcdefgh"), 2)) == [b"abc", b"bcdef", b"efgh"]
