"""Frames are told apart however the stream is cut into blocks, and what is none ends that."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import pytest
import zstandard

from forensics_core.pipeline.frames import FrameSplitter, WholeFrame

LARGEST = 140_000
NOISE = random.Random(5).randbytes(LARGEST)  # noqa: S311 - the same every time
CONTENTS = [b"x" * LARGEST, NOISE, b"", b"words " * 3000, NOISE[:7], bytes(135_000)]
"""Blocks of one repeated byte, stored ones, compressed ones, none; several in a frame."""


def packed(content: bytes, *, checksum: bool = True) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=checksum).compress(content)


def skippable(length: int) -> bytes:
    return struct.pack("<II", 0x184D2A5E, length) + bytes(length)


FRAMES = [packed(content, checksum=number % 2 == 0) for number, content in enumerate(CONTENTS)]
STREAM = skippable(5) + b"".join(FRAMES[:3]) + skippable(70_000) + b"".join(FRAMES[3:])


def cut(stream: bytes, step: int) -> Iterator[bytes]:
    for start in range(0, len(stream), step):
        yield stream[start : start + step]


def split(splitter: FrameSplitter, stream: bytes, step: int) -> list[WholeFrame]:
    return [frame for block in cut(stream, step) for frame in splitter.feed(block)]


@pytest.mark.parametrize("step", [997, 20_001, 65_536, 140_001, 10**7])
def test_frames_are_the_same_however_the_stream_is_cut(step: int) -> None:
    splitter = FrameSplitter(LARGEST)
    frames = split(splitter, STREAM + skippable(100), step)
    assert [bytes(frame.stored) for frame in frames] == FRAMES
    assert [frame.size for frame in frames] == [len(content) for content in CONTENTS]
    assert not splitter.over and not splitter.rest()


@pytest.mark.parametrize("step", [1, 2, 3, 5, 18])
def test_a_header_may_lie_in_two_blocks(step: int) -> None:
    splitter = FrameSplitter(LARGEST)
    frames = split(splitter, skippable(5) + FRAMES[3] + FRAMES[2] + FRAMES[4] + skippable(9), step)
    assert [bytes(frame.stored) for frame in frames] == [FRAMES[3], FRAMES[2], FRAMES[4]]


def other_frames() -> Iterator[tuple[str, bytes]]:
    yield "larger", packed(NOISE + b"x")
    stream = zstandard.ZstdCompressor().compressobj()
    yield "of a size that it does not say", stream.compress(NOISE) + stream.flush()
    yield "none", b"no frame of anything that anybody knows"
    told = zstandard.ZstdCompressor(write_content_size=True).compress(b"y" * 100_000)
    header = zstandard.frame_header_size(told)
    endless = told[:header] + struct.pack("<I", 128 * 1024 << 3)[:3] + NOISE[: 128 * 1024]
    yield "with more blocks than its size has", endless + 4 * endless[header:]
    words = zstandard.ZstdCompressionDict(b"word" * 100)
    by_words = zstandard.ZstdCompressor(dict_data=words).compress(b"word")
    if zstandard.get_frame_parameters(by_words).dict_id:
        yield "that needs a dictionary", by_words


@pytest.mark.parametrize("step", [1021, 10**7])
@pytest.mark.parametrize(("what", "other"), list(other_frames()))
def test_what_is_no_small_frame_is_left_to_whoever_reads_a_stream(
    what: str, other: bytes, step: int
) -> None:
    splitter, rest, frames = FrameSplitter(LARGEST), b"", list[WholeFrame]()
    for block in cut(FRAMES[3] + other + FRAMES[0], step):
        frames += splitter.feed(block)
        if splitter.over:
            rest += splitter.rest()
    assert [bytes(frame.stored) for frame in frames] == [FRAMES[3]], what
    assert rest == other + FRAMES[0]


@pytest.mark.parametrize("missing", [1, 3, 5, 20])
def test_a_frame_that_is_cut_is_the_rest(missing: int) -> None:
    splitter = FrameSplitter(LARGEST)
    assert len(split(splitter, FRAMES[0] + FRAMES[3][:-missing], 1000)) == 1
    assert splitter.rest() == FRAMES[3][:-missing]
