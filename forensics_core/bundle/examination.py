"""Hashing an object as it comes by, as stored and as it was before compression.

Memory is bounded whatever the bytes are: what decompression yields is hashed and forgotten, and no
more of it is made than the manifest promises.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import aclosing
from typing import IO, cast

import zstandard
from anyio import to_thread

from forensics_core.bundle.expectation import Expectation
from forensics_core.bundle.problems import Problem, ProblemKind
from forensics_core.errors import DestinationError, DestinationUnreachable, ObjectNotFound
from forensics_core.tarindex.archive import MAX_FRAME


async def examine(
    blocks: AsyncIterable[bytes],
    expected: Expectation,
    passed: Callable[[bytes], Awaitable[None]],
) -> Problem | None:
    """Compare what `blocks` yields with what was promised, handing each block to `passed`.

    The work is done in threads. Reading ends where more comes than was promised, so that nobody can
    fill a disk. Returns what is wrong, or None. Raises `DestinationUnreachable`, which says nothing
    about the evidence.
    """
    examination = Examination(expected)
    try:
        async with aclosing(_explained(blocks, expected.name)) as readable:
            async for block in readable:
                await to_thread.run_sync(examination.feed, block)
                if examination.too_long:
                    break
                await passed(block)
    except _Broken as broken:
        return broken.problem
    return examination.verdict()


class _Broken(Exception):
    """Reading failed, which is a finding."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


async def _explained(blocks: AsyncIterable[bytes], name: str) -> AsyncGenerator[bytes, None]:
    """Pass `blocks` on, and keep their failures apart from those of whoever takes them."""
    try:
        async for block in blocks:
            yield block
    except DestinationUnreachable:
        raise
    except ObjectNotFound as error:
        raise _Broken(Problem(ProblemKind.MISSING, name, "it is not there")) from error
    except DestinationError as error:
        raise _Broken(Problem(ProblemKind.UNREADABLE, name, error.message)) from error


class Examination:
    """One object under way."""

    def __init__(self, expected: Expectation) -> None:
        self._expected = expected
        self._sha256 = hashlib.sha256()
        self._size = 0
        self._original = _Original(expected.original_size)
        sink = cast(IO[bytes], self._original)
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_FRAME)
        self._zstd = decompressor.stream_writer(sink, closefd=False)
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

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = 0
        self.sha256 = hashlib.sha256()

    def write(self, piece: bytes) -> int:
        self.size += len(piece)
        if self.size > self.most:
            raise _TooLong
        self.sha256.update(piece)
        return len(piece)
