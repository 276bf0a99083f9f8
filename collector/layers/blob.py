"""A layer's blob in a content store: read, compared with its digest, and decompressed."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import zstandard

from collector.layers.promised import DamagedSource
from collector.node.host import Host

BLOCK = 256 * 1024
MAX_WINDOW = 128 * 1024 * 1024
"""Bytes of memory that a blob of zstd may ask for: what its command line tool allows by itself."""
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class _Hashed:
    """A file whose bytes are hashed as they are read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = BLOCK) -> bytes:
        block = self._file.read(size)
        self.digest.update(block)
        return block

    def blocks(self) -> Iterator[bytes]:
        while block := self.read():
            yield block


@dataclass(slots=True)
class PackedSource:
    """A `LayerSource`: plain, or packed by gzip or zstd, whatever its media type says."""

    host: Host
    path: str
    """Where the content store has it."""
    digest: str
    """`sha256:...`"""
    word: str = field(default="blob", init=False)
    independent: bool = field(default=True, init=False)
    unlooked: int = field(default=0, init=False)
    _seen: str = field(default="", init=False)

    def read(self, folder: int) -> Iterator[bytes]:
        """Yield the plain archive. Raises `DamagedSource`, and `OSError` where it is gone."""
        with os.fdopen(self.host.open_data(self.path), "rb", buffering=0) as file:
            source, damage = _Hashed(file), ""
            try:
                yield from _unpacked(source)
            except (zlib.error, zstandard.ZstdError) as error:
                damage = f"it cannot be decompressed: {error}"
            # What follows the archive counts as well; who gives up reading waits for none of it.
            for _ in source.blocks():
                yield b""
            self._seen = f"sha256:{source.digest.hexdigest()}"
        if damage:
            raise DamagedSource(damage)

    def flaw(self) -> str:
        """Return what is wrong where its digest is not the promised one."""
        if self._seen == self.digest:
            return ""
        return f"The blob {self.digest} in the content store has the digest {self._seen}"

    def suspects(self, folder: int) -> Iterator[bytes]:
        """Yield nothing: each file was compared with the archive's."""
        return iter(())


def _unpacked(source: _Hashed) -> Iterator[bytes]:
    first = source.read()
    if first.startswith(_GZIP):
        yield from _inflated(first, source)
    elif first.startswith(_ZSTD):
        yield from _decompressed(first, source)
    elif first:
        yield first
        yield from source.blocks()


def _inflated(first: bytes, source: _Hashed) -> Iterator[bytes]:
    """Decompress members of gzip, of which there may be several, until zeros follow."""
    inflate = zlib.decompressobj(31)
    block = first
    while block:
        yield inflate.decompress(block, BLOCK)
        if inflate.eof:
            block = inflate.unused_data or source.read()
            inflate = zlib.decompressobj(31)
            if not block.lstrip(b"\0"):
                return
        else:
            block = inflate.unconsumed_tail or source.read()
    yield inflate.flush()


def _decompressed(first: bytes, source: _Hashed) -> Iterator[bytes]:
    unpack = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
    reader = unpack.stream_reader(_Again(first, source), read_across_frames=True)  # type: ignore[arg-type]  # all that it asks for is `read`
    while piece := reader.read(BLOCK):
        yield piece


class _Again:
    """Reads a first block once more, then what follows it."""

    def __init__(self, first: bytes, source: _Hashed) -> None:
        self._first = first
        self._source = source

    def read(self, size: int = BLOCK) -> bytes:
        block, self._first = self._first[:size], self._first[size:]
        return block or self._source.read(size)
