"""What each stage makes of the blocks, and that the outcome is readable by other tools."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import AsyncIterator, Sequence

import anyio
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from forensics_core.pipeline import seektable
from forensics_core.pipeline.levels import FIRST, LEVELS, SETTLING, UNKNOWN, LevelControl
from forensics_core.pipeline.meter import Meter
from forensics_core.pipeline.run import run_pipeline
from forensics_core.pipeline.stages import Digest, Stage, Zstd
from forensics_core.storage.objects import Buffer


async def run(data: Sequence[bytes], stages: Sequence[Stage], framed: bool = False) -> bytes:
    out = io.BytesIO()

    async def source() -> AsyncIterator[bytes]:
        for block in data:
            yield block

    async def sink(block: Buffer) -> None:
        out.write(block)

    await run_pipeline(source(), stages, sink, Meter(), framed=framed)
    return out.getvalue()


def test_a_digest_counts_and_hashes_and_changes_nothing() -> None:
    digest = Digest()
    assert anyio.run(run, [b"ab", b"c"], [digest]) == b"abc"
    assert (digest.size, digest.sha256) == (3, hashlib.sha256(b"abc").hexdigest())


@given(st.lists(st.binary(min_size=1, max_size=2_000), max_size=12))
def test_zstd_is_one_plain_stream_with_a_seek_table(data: list[bytes]) -> None:
    stored = anyio.run(run, data, [Zstd()])
    plain = b"".join(data)
    with zstandard.ZstdDecompressor().stream_reader(
        io.BytesIO(stored), read_across_frames=True
    ) as reader:
        assert reader.read() == plain
    size = seektable.table_size(stored[-seektable.FOOTER_SIZE :])
    frames = seektable.decode(stored[-size:])
    assert sum(frame.original for frame in frames) == len(plain)
    assert sum(frame.stored for frame in frames) == len(stored) - size


def test_each_frame_stands_alone() -> None:
    data = [bytes([number]) * 5_000_000 for number in range(5)]
    stored = anyio.run(run, data, [Zstd(workers=3)])
    size = seektable.table_size(stored[-seektable.FOOTER_SIZE :])
    frames = seektable.decode(stored[-size:])
    start = sum(frame.stored for frame in frames[:2])
    third = zstandard.ZstdDecompressor().decompress(stored[start : start + frames[2].stored])
    offset = sum(frame.original for frame in frames[:2])
    assert third == b"".join(data)[offset : offset + frames[2].original]


@pytest.mark.parametrize("damage", [b"", b"\0" * 9, b"\0" * 40])
def test_a_seek_table_that_is_none_is_refused(damage: bytes) -> None:
    with pytest.raises(ValueError, match="seek table"):
        seektable.decode(damage)


def test_a_footer_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no seek table"):
        seektable.table_size(b"\0" * 9)


def test_a_table_with_checksums_is_understood() -> None:
    """Other writers may add four bytes to each entry: the descriptor's top bit says so."""
    plain = seektable.encode([seektable.Frame(3, 7)])
    length = int.from_bytes(plain[4:8], "little") + 4
    table = (
        plain[:4] + length.to_bytes(4, "little") + plain[8:16] + b"\1\2\3\4" + plain[16:20]
    ) + (b"\x80" + plain[21:])
    assert seektable.table_size(table[-9:]) == len(table)
    assert list(seektable.decode(table)) == [seektable.Frame(3, 7)]


def test_frames_of_all_levels_are_one_stream_and_counted() -> None:
    """The room is full throughout, so that the level rises block by block."""
    data = [bytes(range(256)) * 100] * (SETTLING * len(LEVELS))
    stage = Zstd(LevelControl(lambda: 1.0), workers=1)
    stored = anyio.run(run, data, [stage], True)
    with zstandard.ZstdDecompressor().stream_reader(
        io.BytesIO(stored), read_across_frames=True
    ) as reader:
        assert reader.read() == b"".join(data)
    assert sum(stage.frames_by_level.values()) == len(data)
    assert list(stage.frames_by_level) == [level for level in LEVELS if level >= UNKNOWN]


def test_what_cannot_be_compressed_is_not_searched_at_high_levels() -> None:
    stage = Zstd(LevelControl(levels=(6,)), workers=1)
    noise = [os.urandom(50_000) for _ in range(3)]
    anyio.run(run, [*noise, bytes(50_000), bytes(50_000)], [stage], True)
    # The first of each run shows that it has begun.
    assert stage.frames_by_level == {FIRST: 3, 6: 2}
