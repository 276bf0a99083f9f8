"""Stages: what happens to each block between its source and its destination.

A stage works on blocks in threads, off the event loop; `workers` of them at once where the blocks
do not depend on each other.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import suppress
from typing import Protocol

import zstandard

from forensics_core._internal.processors import compressors
from forensics_core.pipeline import seektable
from forensics_core.pipeline.levels import FIRST, LevelControl
from forensics_core.storage.objects import Buffer

AT_ONCE = compressors()
"""Blocks that are compressed at once. Asked when this is loaded, as it reads a file."""


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

    # At a fixed level it is the first: faster ones save a fifth of the time and store a third more;
    # level 3 takes half as long again and stores a tenth less.
    def __init__(self, levels: LevelControl | None = None, *, workers: int | None = None) -> None:
        self.workers = workers or AT_ONCE
        self._levels: list[int] = []
        self._control = levels or LevelControl()
        self._idle: list[tuple[int, zstandard.ZstdCompressor]] = []
        self._gained = True
        self._frames: list[seektable.Frame] = []
        self.table = b""
        """The seek table, once all has passed."""

    def process(self, block: Buffer) -> Buffer:
        """Return `block` as one frame that says its size and carries a checksum."""
        level = self._level()
        compressor = self._compressor(level)
        frame: bytes = compressor.compress(block)
        self._idle.append((level, compressor))
        self._gained = len(frame) < len(block) * 0.98
        self._levels.append(level)
        # It was made in room for the whole block. Cut short it would leave gaps behind that nothing
        # fits into: where the destination is slow, and frames pile up, hundreds of MiB of them.
        return bytes(memoryview(frame)) if len(frame) < len(block) * 3 // 4 else frame

    @property
    def frames_by_level(self) -> dict[int, int]:
        """How many frames were made at which level, in order of levels."""
        return dict(sorted(Counter(self._levels).items()))

    def _level(self) -> int:
        # What cannot be compressed comes in long runs. The first level sees at once that there is
        # nothing to gain, and stores the block as it is; high ones search all of it.
        level = self._control.level
        return level if self._gained else min(level, FIRST)

    def _compressor(self, level: int) -> zstandard.ZstdCompressor:
        """Return one that nobody uses: two threads must not use one at the same time.

        They are no thread's own: any of the pool's may come by, and each takes some MiB.
        """
        with suppress(IndexError):
            made_for, idle = self._idle.pop()
            if made_for == level:
                return idle
        return zstandard.ZstdCompressor(level=level, write_checksum=True)

    def passed(self, before: Buffer, after: Buffer) -> None:
        """Remember where the frame lies."""
        self._control.passed()
        self._frames.append(seektable.Frame(stored=len(after), original=len(before)))

    def finish(self) -> Buffer:
        """Return the seek table; before it an empty frame if there was nothing at all."""
        # `zstd -d` takes the table alone for an empty file; decoders of whole buffers look for a
        # frame that says its size, and refuse it.
        empty = b"" if self._frames else self.process(b"")
        if empty:
            self.passed(b"", empty)
        self.table = seektable.encode(self._frames)
        return bytes(empty) + self.table
