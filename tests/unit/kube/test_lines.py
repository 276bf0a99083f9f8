"""Lines out of chunks, however they are cut."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from forensics_core.kube.lines import lines


async def chunked(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"\n", b"a\n\nb"]), max_size=20))
async def test_cuts_make_no_difference(chunks: list[bytes]) -> None:
    whole = b"".join(chunks).split(b"\n")[:-1]
    assert [line async for line in lines(chunked(chunks), 10_000)] == whole


@given(st.lists(st.binary(max_size=20), max_size=20), st.integers(1, 30))
async def test_long_lines_are_cut(chunks: list[bytes], limit: int) -> None:
    whole = [line[:limit] for line in b"".join(chunks).split(b"\n")[:-1]]
    assert [line async for line in lines(chunked(chunks), limit)] == whole
