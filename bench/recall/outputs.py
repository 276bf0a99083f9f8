"""What a tool left behind, as streams: whatever is packed is unpacked, nothing is written."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

import zstandard

CHUNK = 1024 * 1024
MAX_DEPTH = 4
"""Archives within archives that are opened."""
_ZSTD, _GZIP, _BZ2, _XZ, _ZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"PK\3\4"


class OutputStream(Protocol):
    """Something to read from, once."""

    def read(self, size: int = -1, /) -> bytes: ...


def streams(folder: Path) -> Iterator[tuple[str, OutputStream]]:
    """Yield every file below a folder, by its path there, each to be read before the next one.

    Members of a tar archive follow each other in its own stream, where they are found as well.
    """
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        if not path.is_symlink():
            with path.open("rb") as file:
                yield from _opened(str(path.relative_to(folder)), file, 0)


def _opened(name: str, file: IO[bytes], depth: int) -> Iterator[tuple[str, OutputStream]]:
    """Yield what a seekable file holds."""
    head = file.read(8)
    file.seek(0)
    if depth >= MAX_DEPTH:
        yield name, file
    elif head.startswith(_ZIP):
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                with archive.open(member) as packed:
                    yield from _opened(f"{name}/{member.filename}", packed, depth + 1)
    else:
        yield name, _unpacked(head, file)


def _unpacked(head: bytes, file: IO[bytes]) -> OutputStream:
    if head.startswith(_ZSTD):
        return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
    if head.startswith(_GZIP):
        return gzip.GzipFile(fileobj=file)
    if head.startswith(_BZ2):
        return bz2.BZ2File(file)
    if head.startswith(_XZ):
        return lzma.LZMAFile(file)
    return file


def chunks(source: OutputStream, overlap: int) -> Iterator[bytes]:
    """Yield all of a stream in pieces, each of which begins with the end of the one before."""
    kept = b""
    while block := source.read(CHUNK):
        yield kept + block
        kept = (kept + block)[-overlap:]


def text(content: str) -> OutputStream:
    """Return a stream of a text."""
    return io.BytesIO(content.encode())
