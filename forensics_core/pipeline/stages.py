"""Stages: what happens to each block between its source and its destination.

A stage works on blocks in threads, off the event loop; `workers` of them at once where the blocks
do not depend on each other.
"""

from __future__ import annotations

import hashlib
import threading
from typing import Protocol

import zstandard

from forensics_core.pipeline import seektable
from forensics_core.storage.objects import Buffer


class Stage(Protocol):
    """One step of the pipeline."""

    workers: int
    """How many blocks it may work on at once; they leave in the order they came in."""

    def process(self, block: Buffer) -> Buffer:
        """Return what goes on in place of `block`. Called in a thread."""
        ...

    def passed(self, before: Buffer, after: Buffer) -> None:
        """Note a block that goes on. Called in order, in the event loop: must be quick."""
        ...

    def finish(self) -> Buffer:
        """Return what goes on after the last block."""
        ...


class Digest:
    """Counts and hashes what passes, and changes nothing."""

    workers = 1

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.size = 0
        """Bytes so far."""

    @property
    def sha256(self) -> str:
        """The SHA-256 of all bytes so far, in hexadecimal."""
        return self._sha256.hexdigest()

    def process(self, block: Buffer) -> Buffer:
        """Hash `block` and hand it on as it is."""
        self._sha256.update(block)
        return block

    def passed(self, before: Buffer, after: Buffer) -> None:
        """Count the bytes."""
        self.size += len(after)

    def finish(self) -> Buffer:
        """Add nothing."""
        return b""


class Zstd:
    """Compresses each block into a zstd frame of its own, and ends with the seek table."""

    # Faster levels save a fifth of the time and store a third more; level 3 takes half as long
    # again and stores a tenth less. Two workers, as this is the slowest step even so.
    def __init__(self, *, level: int = 1, workers: int = 2) -> None:
        self.workers = workers
        self._level = level
        self._compressors = threading.local()
        self._frames: list[seektable.Frame] = []

    def process(self, block: Buffer) -> Buffer:
        """Return `block` as one frame that says its size and carries a checksum."""
        # A compressor of its own for each thread: two threads must not use one at the same time.
        compressor = getattr(self._compressors, "own", None)
        if compressor is None:
            compressor = zstandard.ZstdCompressor(level=self._level, write_checksum=True)
            self._compressors.own = compressor
        frame: bytes = compressor.compress(block)
        # It was made in room for the whole block. Cut short it would leave gaps behind that nothing
        # fits into: where the destination is slow, and frames pile up, hundreds of MiB of them.
        return bytes(memoryview(frame)) if len(frame) < len(block) * 3 // 4 else frame

    def passed(self, before: Buffer, after: Buffer) -> None:
        """Remember where the frame lies."""
        self._frames.append(seektable.Frame(stored=len(after), original=len(before)))

    def finish(self) -> Buffer:
        """Return the seek table; before it an empty frame if there was nothing at all."""
        # `zstd -d` takes the table alone for an empty file; decoders of whole buffers look for a
        # frame that says its size, and refuse it.
        empty = b"" if self._frames else self.process(b"")
        if empty:
            self.passed(b"", empty)
        return bytes(empty) + seektable.encode(self._frames)
