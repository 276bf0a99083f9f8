"""Reading a part of an archive, and no more of it than is needed.

A compressed archive is made of independent frames, and its seek table says where each one lies::

    archive = await open_archive(bundle, bundle.objects["containers/web/rootfs.tar.zst"])
    async with aclosing(archive.read(start=1536, length=512)) as blocks: ...

Positions are in the plain archive. What is read is not verified here: who reads knows by what.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from itertools import accumulate
from typing import NamedTuple, Protocol

import zstandard
from anyio import to_thread

from forensics_core.errors import VerificationError
from forensics_core.pipeline import seektable
from forensics_core.pipeline.seektable import Frame

MAX_FRAME = 64 * 1024 * 1024
"""Bytes that a frame may hold: ours hold a block of 4 MiB, or rows, and a row may be long."""
MAX_TABLE = 32 * 1024 * 1024
"""Bytes of a seek table: that of 16 TiB."""
TAIL = 16 * 1024
"""Bytes from the end that are read first: the seek table of 8 GiB."""
MARGIN = 128 * 1024
"""Bytes more than expected that are read of a frame, for data that is compressed unevenly."""

TOGETHER = 8 * 1024 * 1024
"""Bytes of several frames, as stored, that are fetched by one request."""


class Ranges(Protocol):
    """Where the stored bytes come from: an open bundle."""

    def read_range(self, name: str, start: int, length: int | None) -> AsyncGenerator[bytes, None]:
        """Yield a range of an object's bytes as stored."""
        ...


class ExpectedArchive(Protocol):
    """What the manifest promises of an archive."""

    @property
    def name(self) -> str:
        """Of the object, relative to the bundle."""
        ...

    @property
    def size(self) -> int | None:
        """Bytes, as stored."""
        ...

    @property
    def original_size(self) -> int:
        """Bytes of the plain archive."""
        ...

    @property
    def compressed(self) -> bool:
        """Whether it is made of zstd frames."""
        ...


class Near(NamedTuple):
    """Stored bytes of several frames, which came together."""

    place: int
    data: bytes

    def has(self, place: int) -> bool:
        """Whether it has the byte at `place`."""
        return self.place <= place < self.place + len(self.data)

    def part(self, place: int, length: int) -> bytes | None:
        """Return a part, None if that is not all there."""
        begin = place - self.place
        whole = begin >= 0 and begin + length <= len(self.data)
        return self.data[begin : begin + length] if whole else None


NOTHING = Near(0, b"")


class Archive:
    """An archive that a reader can start anywhere in."""

    def __init__(
        self,
        source: Ranges,
        expected: ExpectedArchive,
        frames: Sequence[Frame] | None,
        tail: bytes = b"",
    ) -> None:
        self._source = source
        self._tail, self._tail_start = tail, (expected.size or 0) - len(tail)
        self.name = expected.name
        self.size = expected.original_size
        """Bytes of the plain archive."""
        self.frames = frames
        """None where it is not compressed."""
        originals = (frame.original for frame in frames or ())
        self._starts = array("Q", accumulate(originals, initial=0))
        self._places = array("Q", accumulate((frame.stored for frame in frames or ()), initial=0))

    async def read(self, start: int, length: int) -> AsyncGenerator[bytes, None]:
        """Yield `length` bytes from `start` on.

        Raises `VerificationError` where they cannot be had, and `DestinationError`.
        """
        if start < 0 or length < 0 or start + length > self.size:
            raise _broken(self.name, "it has no such part")
        if self.frames is None:
            async with aclosing(self._plain(start, length)) as blocks:
                async for block in blocks:
                    yield block
            return
        near = NOTHING
        while length:
            number = bisect_right(self._starts, start) - 1
            skip = start - self._starts[number]
            taken = min(length, self.frames[number].original - skip)
            if taken < length and not near.has(self._places[number + 1]):
                near = await self._near(number, start + length)
            data = await self._frame_until(number, skip + taken, near)
            yield data[skip : skip + taken]
            start, length = start + taken, length - taken

    async def read_all(self, start: int, length: int) -> bytes:
        """Return a part that is small enough to hold."""
        async with aclosing(self.read(start, length)) as blocks:
            return b"".join([block async for block in blocks])

    async def read_frame(self, number: int, near: Near = NOTHING) -> bytes:
        """Return all that is in one frame, decompressed; `near` is what `together` returned."""
        original = (self.frames or ())[number].original
        return await self._frame_until(number, original, near)

    async def together(self, numbers: Sequence[int], most: int) -> Near:
        """Fetch frames, of which `numbers` are in order, and what lies between them, in one
        request; nothing where that is more than `most` bytes, or no more than one frame."""
        if len(numbers) < 2:
            return NOTHING
        place, end = self._places[numbers[0]], self._places[numbers[-1] + 1]
        if end - place > most or end > self._tail_start:
            return NOTHING
        return Near(place, await self._fetch(place, end - place))

    async def _plain(self, start: int, length: int) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._source.read_range(self.name, start, length)) as blocks:
            async for block in blocks:
                length -= len(block)
                yield block
        if length:
            raise _broken(self.name, "it is truncated")

    async def _near(self, number: int, end: int) -> Near:
        """Fetch a frame and those behind it, up to a position, in one request: `TOGETHER` bytes at
        most, but for one frame."""
        frames, place = self.frames or (), self._places[number]
        last = max(bisect_right(self._places, place + TOGETHER) - 2, number)
        if self._starts[last + 1] >= end:
            last = bisect_left(self._starts, end) - 1
        within = min(end, self._starts[last + 1]) - self._starts[last]
        stored = self._places[last] - place + _likely(frames[last], within)
        if place + stored > self._tail_start:
            return NOTHING  # a small index is there already
        return Near(place, await self._fetch(place, stored))

    async def _frame_until(self, number: int, end: int, near: Near) -> bytes:
        """Return the first `end` bytes of a frame, of which no more is fetched than is likely to
        be needed, or else all.
        """
        frame = (self.frames or ())[number]
        likely = _likely(frame, end)
        stored = await self._stored(number, 0, likely, near)
        data = await to_thread.run_sync(_decompressed, stored, end, self.name)
        if len(data) < end and likely < frame.stored:
            stored += await self._stored(number, likely, frame.stored - likely, near)
            data = await to_thread.run_sync(_decompressed, stored, end, self.name)
        if len(data) < end:
            raise _broken(self.name, "a frame holds less than its seek table says")
        return data

    async def _stored(self, number: int, start: int, length: int, near: Near) -> bytes:
        place = self._places[number] + start
        if (found := near.part(place, length)) is not None:
            return found
        # A small index came as a whole when its seek table was read.
        if place >= self._tail_start:
            begin = place - self._tail_start
            return self._tail[begin : begin + length]
        return await self._fetch(place, length)

    async def _fetch(self, place: int, length: int) -> bytes:
        async with aclosing(self._source.read_range(self.name, place, length)) as blocks:
            data = b"".join([block async for block in blocks])
        if len(data) != length:
            raise _broken(self.name, "it is truncated")
        return data


async def open_archive(source: Ranges, expected: ExpectedArchive, end: bytes = b"") -> Archive:
    """Open an archive of a bundle. Raises `VerificationError` if its seek table is damaged.

    `end` are its last bytes, where they are known from elsewhere: if its seek table is in them, and
    fits, they are not fetched.
    """
    if not expected.compressed:
        return Archive(source, expected, None)
    found = await _known_frames(expected, end) if end else None
    frames, tail = found or await _frames(source, expected)
    return await to_thread.run_sync(Archive, source, expected, frames, tail)


async def _frames(source: Ranges, expected: ExpectedArchive) -> tuple[Sequence[Frame], bytes]:
    """Return what the seek table lists, and the bytes at the end that were read for it."""
    size = expected.size or 0
    tail = await _last(source, expected.name, size, min(size, TAIL))
    length = _table_size(tail, expected)
    if length > len(tail):
        tail = await _last(source, expected.name, size, length)
    return await to_thread.run_sync(_decoded, tail, length, expected), tail


async def _known_frames(
    expected: ExpectedArchive, end: bytes
) -> tuple[Sequence[Frame], bytes] | None:
    """Return the same by what is known of the end; None where that does not fit."""
    with suppress(VerificationError):
        length = _table_size(end, expected)
        return await to_thread.run_sync(_decoded, end, length, expected), end
    return None


def _table_size(tail: bytes, expected: ExpectedArchive) -> int:
    try:
        length = seektable.table_size(tail[-seektable.FOOTER_SIZE :])
    except (ValueError, struct.error) as error:
        raise _broken(expected.name, str(error)) from error
    if not length <= min(expected.size or 0, MAX_TABLE):
        raise _broken(expected.name, "the seek table is too long")
    return length


def _decoded(tail: bytes, length: int, expected: ExpectedArchive) -> Sequence[Frame]:
    try:
        frames = seektable.decode(tail[-length:])
    except (ValueError, struct.error) as error:
        raise _broken(expected.name, str(error)) from error
    _check(frames, (expected.size or 0) - length, expected)
    return frames


async def _last(source: Ranges, name: str, size: int, length: int) -> bytes:
    async with aclosing(source.read_range(name, size - length, length)) as blocks:
        data = b"".join([block async for block in blocks])
    if len(data) != length:
        raise _broken(name, "it is truncated")
    return data


def _check(frames: Sequence[Frame], stored: int, expected: ExpectedArchive) -> None:
    """Compare the seek table with what the manifest promises."""
    if sum(frame.stored for frame in frames) != stored:
        raise _broken(expected.name, "its seek table does not fit its size")
    if sum(frame.original for frame in frames) != expected.original_size:
        raise _broken(expected.name, "its seek table does not fit what it holds")
    if any(max(frame) > MAX_FRAME for frame in frames):
        raise _broken(expected.name, "a frame is too large")


def _likely(frame: Frame, end: int) -> int:
    """Return how many stored bytes of a frame hold its first `end` bytes, most likely."""
    return min(frame.stored, frame.stored * end // max(frame.original, 1) + MARGIN)


def _decompressed(stored: bytes, most: int, name: str) -> bytes:
    """Return what can be had of a frame's beginning, `most` bytes at most."""
    try:
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_FRAME)
        return decompressor.stream_reader(stored).read(most)
    except zstandard.ZstdError as error:
        raise _broken(name, f"it cannot be decompressed: {error}") from error


def _broken(name: str, why: str) -> VerificationError:
    return VerificationError(
        f"{name} cannot be read: {why}", hint="Run 'forensics verify' to see what is damaged"
    )
