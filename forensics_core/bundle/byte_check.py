"""One object's bytes, as stored and decompressed, compared with what the manifest promises::

check = ByteCheck(expected)
check.feed(block)  # in a thread; where there is `hashing`, its `work` is done in another one
check.close()
problem = check.verdict()
"""

from __future__ import annotations

import hashlib
import threading
from queue import SimpleQueue
from typing import IO, cast

import zstandard

from forensics_core.bundle.expected import ExpectedObject
from forensics_core.bundle.verification import Problem, ProblemKind
from forensics_core.tarindex.archive import MAX_FRAME

PIECE = 1024 * 1024
"""Bytes that decompression yields at once."""
MAX_WAITING = 4
"""Pieces that may wait to be hashed."""
THREAD_FROM = 8 * PIECE
"""Bytes of an original beyond which it is hashed in a thread of its own."""


class ByteCheck:
    """One object under way."""

    def __init__(self, expected: ExpectedObject) -> None:
        self._expected = expected
        self._sha256 = hashlib.sha256()
        self._size = 0
        large = expected.compressed and expected.original_size > THREAD_FROM
        self.hashing = HashingThread() if large else None
        """What hashes the decompressed bytes in a thread of its own, where they are many."""
        self._original = _Original(expected.original_size, self.hashing)
        sink = cast(IO[bytes], self._original)
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_FRAME)
        self._zstd = decompressor.stream_writer(sink, write_size=PIECE, closefd=False)
        self._broken = "" if expected.compressed else "not compressed"

    def feed(self, block: bytes) -> None:
        """Take the next bytes, as stored. Called in a thread."""
        self._sha256.update(block)
        self._size += len(block)
        if self._broken:
            return
        try:
            self._zstd.write(block)
        except zstandard.ZstdError as error:
            self._broken = f"cannot be decompressed: {error}"
        except _TooLong:
            self._broken = f"decompresses to more than the {self._original.most} bytes promised"

    def close(self) -> None:
        """Say that no block follows."""
        if self.hashing:
            self.hashing.end()

    @property
    def too_long(self) -> bool:
        """Whether more came than there can be."""
        return self._size > self._expected.most

    def verdict(self) -> Problem | None:
        """Return what is wrong, after the last block."""
        stored = self._stored_verdict()
        if not self._expected.compressed:
            return self._problem(ProblemKind.MISMATCH, stored)
        if stored and self._broken:
            stored = f"{stored}; it {self._broken}"
        if stored:
            return self._problem(ProblemKind.MISMATCH, stored)
        if self._broken:
            message = f"it {self._broken}, although it is stored as the manifest says"
            return self._problem(ProblemKind.UNREADABLE, message)
        return self._problem(ProblemKind.MISMATCH, self._original_verdict())

    def _stored_verdict(self) -> str:
        expected, size = self._expected, self._size
        if expected.size is not None and size < expected.size:
            return f"it is truncated: {size} of {expected.size} bytes are there"
        if self.too_long:
            return f"it is too long: there are more than {expected.most} bytes"
        found = self._sha256.hexdigest()
        if found == expected.sha256:
            return ""
        return f"its SHA-256 is {found}, the manifest says {expected.sha256}"

    def _original_verdict(self) -> str:
        expected, found = self._expected, self._original
        if found.size != expected.original_size:
            return f"it decompresses to {found.size} of {expected.original_size} bytes"
        if found.sha256.hexdigest() == expected.original_sha256:
            return ""
        return f"decompressed, its SHA-256 is not {expected.original_sha256}"

    def _problem(self, kind: ProblemKind, message: str) -> Problem | None:
        return Problem(kind, self._expected.name, message) if message else None


class _TooLong(Exception):
    """More came out than was promised: a decompression bomb, or another file."""


class _Original:
    """Where decompressed bytes go, in small pieces."""

    def __init__(self, most: int, hashing: HashingThread | None) -> None:
        self.most = most
        self.size = 0
        self.sha256 = hashing.sha256 if hashing else hashlib.sha256()
        self._update = hashing.put if hashing else self.sha256.update

    def write(self, piece: bytes) -> int:
        self.size += len(piece)
        if self.size > self.most:
            raise _TooLong
        self._update(piece)
        return len(piece)


class HashingThread:
    """A SHA-256 that a thread of its own works on, a few pieces behind whoever puts them."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        """To be asked once `work` has returned."""
        self._pieces: SimpleQueue[bytes] = SimpleQueue()
        self._room = threading.Semaphore(MAX_WAITING)

    def put(self, piece: bytes) -> None:
        """Add a piece; waits for room. Called in a thread."""
        self._room.acquire()
        self._pieces.put(piece)

    def end(self) -> None:
        """Say that no piece follows; never waits."""
        self._pieces.put(b"")

    def work(self) -> None:
        """Hash pieces until the end. Called in a thread."""
        while piece := self._pieces.get():
            self.sha256.update(piece)
            self._room.release()
