"""Threads that decompress frames at once find what one stream finds, hostile frames included."""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from queue import SimpleQueue

import pytest
import zstandard

from forensics_core.bundle.byte_check import BESIDE
from forensics_core.bundle.expected import ExpectedObject
from forensics_core.bundle.object_checks import compare, discard
from forensics_core.bundle.unpacking import LARGEST, FrameJob, Original
from forensics_core.pipeline import seektable
from forensics_core.pipeline.frames import WholeFrame
from forensics_core.pipeline.seektable import Frame

NOISE = random.Random(11).randbytes(1024 * 1024)  # noqa: S311 - the same every time
CONTENTS = [
    *(NOISE[number:] + bytes([number]) * 3 * len(NOISE) for number in range(4)),
    b"",
    b"end\n",
]
"""More than what one thread does by itself."""
PLAIN = b"".join(CONTENTS)


def packed(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(content)


FRAMES = [packed(content) for content in CONTENTS]
TABLE = seektable.encode(
    Frame(len(frame), len(content)) for frame, content in zip(FRAMES, CONTENTS, strict=True)
)


def whole(*frames: bytes) -> bytes:
    return b"".join(frames) + TABLE


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def with_other_size(frame: bytes, size: int) -> bytes:
    """Return a frame that says it holds another number of bytes, of four."""
    assert frame[4] & 0xE0 == 0x80  # a byte for the window, and four for the size
    return frame[:6] + struct.pack("<I", size) + frame[10:]


def unsized(content: bytes) -> bytes:
    stream = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    return stream.compress(content) + stream.flush()


def promised(stored: bytes, plain: bytes) -> ExpectedObject:
    return ExpectedObject(
        "rootfs.tar.zst",
        hashlib.sha256(stored).hexdigest(),
        size=len(stored),
        compressed=True,
        original_sha256=hashlib.sha256(plain).hexdigest(),
        original_size=len(plain),
        described=True,
    )


async def blocks_of(stored: bytes, step: int) -> AsyncIterator[bytes]:
    for start in range(0, len(stored), step):
        yield stored[start : start + step]


async def verdict(stored: bytes, plain: bytes = PLAIN, step: int = 1_000_000) -> str:
    """Return what is found, which is what one stream finds."""
    assert len(plain) > BESIDE
    problem = await compare(blocks_of(stored, step), promised(stored, plain), discard)
    return problem.message if problem else ""


def by_one_stream(stored: bytes, plain: bytes = PLAIN) -> tuple[str, int, str]:
    original = Original(len(plain))
    original.put(stored)
    return original.flaw, original.size, original.sha256.hexdigest()


@pytest.mark.parametrize("step", [70_001, 1_000_000, 64 * 1024 * 1024])
async def test_frames_that_are_as_promised_have_no_problem(step: int) -> None:
    assert await verdict(whole(*FRAMES), step=step) == ""


ALIKE: dict[str, Callable[[], Iterator[bytes]]] = {
    "frames that do not say their size": lambda: iter([FRAMES[0], *map(unsized, CONTENTS[1:])]),
    "one frame that is too large": lambda: iter([packed(PLAIN)]),
    "no checksums": lambda: map(zstandard.ZstdCompressor().compress, CONTENTS),
    "a large one among small ones": lambda: iter([*FRAMES[:1], packed(b"".join(CONTENTS[1:]))]),
}


@pytest.mark.parametrize("way", ALIKE)
async def test_every_way_to_make_frames_is_read_alike(way: str) -> None:
    assert len(PLAIN) > LARGEST
    assert await verdict(whole(*ALIKE[way]())) == ""


async def test_the_order_of_frames_counts() -> None:
    swapped = whole(FRAMES[1], FRAMES[0], *FRAMES[2:])
    assert (await verdict(swapped)).startswith("decompressed, its SHA-256 is not")


DAMAGED = {
    "a flipped bit": whole(FRAMES[0], flipped(FRAMES[1], 500_000), *FRAMES[2:]),
    "a checksum that is wrong": whole(FRAMES[0], flipped(FRAMES[1], -1), *FRAMES[2:]),
    "more in a frame than it says": whole(with_other_size(FRAMES[0], 4_000_000), *FRAMES[1:]),
    "less in a frame than it says": whole(
        with_other_size(FRAMES[0], len(CONTENTS[0]) + 1), *FRAMES[1:]
    ),
    "something behind the end": whole(*FRAMES) + b"no frame, but something else",
    "no frame from the beginning": b"no frame, but something else" * 1000,
    "damage in a stream": whole(FRAMES[0], flipped(unsized(b"".join(CONTENTS[1:])), 500_000)),
    "damage before damage": whole(flipped(FRAMES[0], 9_000), b"no frame, but something else"),
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("step", [100_003, 64 * 1024 * 1024])
async def test_what_is_damaged_is_told(damage: str, step: int) -> None:
    flaw, _, _ = by_one_stream(DAMAGED[damage])
    assert flaw.startswith("cannot be decompressed: ")
    message = await verdict(DAMAGED[damage], step=step)
    assert message.startswith("it cannot be decompressed: ")
    assert message.endswith("although it is stored as the manifest says")


@pytest.mark.parametrize("missing", [1, 300, 1_000_000])
async def test_a_last_frame_that_is_cut_counts_as_far_as_it_goes(missing: int) -> None:
    stored = b"".join(FRAMES[:3]) + FRAMES[3][:-missing]
    plain = b"".join(CONTENTS[:4])
    flaw, size, digest = by_one_stream(stored, plain)
    assert not flaw
    found = await verdict(stored, plain)
    if size < len(plain):
        assert found == f"it decompresses to {size} of {len(plain)} bytes"
    else:  # only the checksum is missing
        assert (found == "") == (digest == hashlib.sha256(plain).hexdigest())


@pytest.mark.parametrize("last", [FRAMES[0], unsized(CONTENTS[0]), packed(bytes(LARGEST * 2))])
async def test_more_than_was_promised_is_not_decompressed(last: bytes) -> None:
    found = await verdict(whole(*FRAMES, last, flipped(FRAMES[0], 9_000)))
    assert found.startswith(f"it decompresses to more than the {len(PLAIN)} bytes promised")


def test_a_frame_that_is_cut_holds_another_size() -> None:
    job = FrameJob(WholeFrame(FRAMES[0][:900_000], len(CONTENTS[0])), SimpleQueue())
    job.decompress()
    assert job.flaw == "cannot be decompressed: a frame holds another size than it says"


def test_nothing_is_decompressed_behind_what_cannot_be() -> None:
    original = Original(10**6)
    original.put(b"no frame, but something else")
    flaw = original.flaw
    original.put(FRAMES[-1])
    assert original.flaw == flaw and not original.size
