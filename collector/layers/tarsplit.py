"""A layer's archive, put together again from its directory and from what Docker kept of it.

Docker keeps no archives of layers. Of each it keeps a file of tar-split: all of the archive but the
files' content, for which it has a CRC-64. Together they are the archive, byte for byte, and its
SHA-256 is the diff ID only if the content is the image's.

Source: https://github.com/vbatts/tar-split/blob/main/tar/storage/entry.go
"""

from __future__ import annotations

import base64
import binascii
import gzip
import heapq
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, BinaryIO, NamedTuple

from collector.files.safe_open import PLACE, open_data, open_in_root, open_strictly, opened
from collector.layers.promised import DamagedSource
from collector.node.host import Host

BLOCK = 256 * 1024
MAX_LINE = 64 * 1024 * 1024
"""Bytes of one entry: headers of one member, with its extended attributes."""
MAX_SUSPECTS = 10_000
"""Files whose content is looked at where the archive is another one: those changed last."""
_FILE, _SEGMENT = 1, 2
_POLYNOMIAL = 0xD800000000000000
"""Of CRC-64/ISO, as Go has it."""
_ALL = (1 << 64) - 1


class _SplitEntry(NamedTuple):
    """A file's content that belongs here, or, with no name, bytes of the archive."""

    name: bytes
    size: int
    payload: bytes


class _Suspect(NamedTuple):
    """A file whose content may have been changed."""

    changed: int
    """When, in nanoseconds: nobody can set that time of a file to what he likes."""
    name: bytes
    size: int
    checksum: bytes


@dataclass(slots=True)
class TarSplit:
    """A `LayerSource`: it reads the files of the layer's directory itself."""

    host: Host
    path: str
    """Of `tar-split.json.gz`."""
    max_suspects: int = MAX_SUSPECTS
    word: str = field(default="tar-split", init=False)
    independent: bool = field(default=False, init=False)
    unlooked: int = field(default=0, init=False)

    def read(self, folder: int) -> Iterator[bytes]:
        """Yield the archive; what is missing of a file is zeros there. Raises `DamagedSource`."""
        for entry in self._entries():
            if entry.name:
                yield from _content(folder, entry)
            else:
                yield entry.payload

    def flaw(self) -> str:
        """Return nothing: what Docker kept is right if the archive is."""
        return ""

    def suspects(self, folder: int) -> Iterator[bytes]:
        """Yield the files whose content has not the CRC that it had when it was unpacked."""
        newest = list[_Suspect]()
        self.unlooked = 0
        for entry in self._entries():
            if entry.name and entry.payload and (found := _suspect(folder, entry)):
                if len(newest) < self.max_suspects:
                    heapq.heappush(newest, found)
                else:
                    heapq.heappushpop(newest, found)
                    self.unlooked += 1
            yield b""
        for each in sorted(newest, reverse=True):
            yield from _checked(folder, each)

    def _entries(self) -> Iterator[_SplitEntry]:
        with (
            os.fdopen(self.host.open_data(self.path), "rb") as packed,
            gzip.GzipFile(fileobj=packed) as lines,
        ):
            try:
                while line := lines.readline(MAX_LINE):
                    yield _entry(line)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise DamagedSource(f"what the engine kept of it is damaged: {error}") from error


def _entry(line: bytes) -> _SplitEntry:
    try:
        said: dict[str, Any] = json.loads(line)
        payload = base64.b64decode(said.get("payload") or "")
        if said["type"] == _SEGMENT:
            return _SplitEntry(b"", 0, payload)
        raw = said.get("name_raw")
        name = base64.b64decode(raw) if raw else str(said.get("name") or "").encode()
        size = int(said.get("size") or 0)
    except (ValueError, LookupError, TypeError, AttributeError, binascii.Error) as error:
        raise DamagedSource("what the engine kept of it is not a tar-split") from error
    return _SplitEntry(name if size > 0 else b"", size, payload if size > 0 else b"")


def _open(folder: int, name: bytes) -> int:
    """Open the place of a file; the archive may have been unpacked through a link of the layer."""
    path = b"/".join(part for part in name.split(b"/") if part not in {b"", b"."})
    try:
        return open_strictly(folder, path, PLACE)
    except OSError:
        above, _, last = path.rpartition(b"/")
        with opened(open_in_root(folder, above or b"/")) as place:
            return os.open(last, PLACE, dir_fd=place)


def _content(folder: int, entry: _SplitEntry) -> Iterator[bytes]:
    """Yield as many bytes as the file had when it was packed."""
    left = entry.size
    try:
        with opened(_open(folder, entry.name)) as place, os.fdopen(open_data(place), "rb") as file:
            for block in _blocks(file, left):
                left -= len(block)
                yield block
    except OSError:
        pass  # it is missing, or something else lies there: that is found by its headers
    while left:
        block = bytes(min(left, BLOCK))
        left -= len(block)
        yield block


def _blocks(file: BinaryIO, most: int) -> Iterator[bytes]:
    while most and (block := file.read(min(most, BLOCK))):
        most -= len(block)
        yield block


def _suspect(folder: int, entry: _SplitEntry) -> _Suspect | None:
    try:
        with opened(_open(folder, entry.name)) as place:
            changed = os.fstat(place).st_ctime_ns
    except OSError:
        return None
    return _Suspect(changed, entry.name, entry.size, entry.payload)


def _checked(folder: int, suspect: _Suspect) -> Iterator[bytes]:
    """Yield the file's name if its content has another checksum, and nothing meanwhile."""
    crc = _ALL
    for block in _content(folder, _SplitEntry(suspect.name, suspect.size, b"")):
        for start in range(0, len(block), 16 * 1024):
            crc = crc64(block[start : start + 16 * 1024], crc)
            yield b""
    if (crc ^ _ALL).to_bytes(8, "big") != suspect.checksum:
        yield suspect.name


@cache
def _table() -> tuple[int, ...]:
    def entry(value: int) -> int:
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        return value

    return tuple(entry(value) for value in range(256))


def crc64(data: bytes, crc: int) -> int:
    """Return the register after `data`; it begins with, and its end is to be inverted by, ones."""
    table = _table()
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc
