"""Log frames are unwrapped, however the connection cuts them."""

import struct
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.docker.logs import payloads
from forensics_core.errors import SourceError


def frame(payload: bytes) -> bytes:
    return struct.pack(">B3xI", 1, len(payload)) + payload


async def cut(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@given(st.lists(st.binary(max_size=40)), st.integers(1, 60))
async def test_payloads_are_joined(frames: list[bytes], size: int) -> None:
    stream = b"".join(map(frame, frames))
    got = [piece async for piece in payloads(cut(stream, size))]
    assert b"".join(got) == b"".join(frames)


@pytest.mark.parametrize("missing", [1, 5, 10])
async def test_a_frame_that_breaks_off_is_an_error(missing: int) -> None:
    stream = frame(b"hello")[:-missing]
    with pytest.raises(SourceError, match="middle of a frame"):
        [piece async for piece in payloads(cut(stream, 4))]
