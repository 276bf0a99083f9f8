"""A part on the wire: the same bytes however they are taken, and from the beginning each time."""

from __future__ import annotations

import pytest
from awscrt import checksums

from forensics_core.storage.budget import MIB
from forensics_core.storage.s3.parts import SLICE, PartBody

BLOCKS = {
    "one": [bytes(range(256)) * (3 * MIB // 256)],
    "large": [b"a" * MIB, b"b" * (2 * MIB + 1)],
    "many": [b"row\n"] * 1000,
    "none": [],
}


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS)
async def test_the_bytes_are_the_same_however_they_are_taken(blocks: list[bytes]) -> None:
    whole = b"".join(blocks)
    body = PartBody(blocks)
    for _ in range(2):
        slices = [bytes(each) async for each in body]
        assert b"".join(slices) == whole
        assert all(len(each) <= SLICE for each in slices)
    assert body.read() == whole
    assert len(body) == len(whole)
    assert body


def test_a_client_can_ask_for_the_length_and_rewind() -> None:
    body = PartBody([b"abc", b"de"])
    assert body.tell() == 0
    assert body.seek(0, 2) == 5
    assert body.seek(0) == 0


async def test_every_slice_that_was_taken_counts_as_progress() -> None:
    body, taken = PartBody([bytes(2 * SLICE + 1)]), list[int]()
    body.on_progress = lambda: taken.append(1)
    assert [len(each) async for each in body] == [SLICE, SLICE, 1]
    assert len(taken) == 3


def test_the_checksum_is_that_of_the_bytes_and_goes_on_from_another() -> None:
    first, second = PartBody([b"1234"]), PartBody([b"56", b"789"])
    assert second.crc64(first.crc64()) == checksums.crc64nvme(b"123456789")
