"""What a server's pause and an odd status become."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forensics_core.errors import ApiUnavailable, Expired, Invalid
from forensics_core.kube.answers import failure, failure_in_stream, lines


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("999999", 300.0),
        ("Wed, 21 Oct 2026", None),
        ("", None),
    ],
)
def test_a_pause_is_taken_in_seconds_and_in_measure(header: str, expected: float | None) -> None:
    error = failure("GET /x", 429, {"Retry-After": header}, b"")
    assert isinstance(error, ApiUnavailable)
    assert error.retry_after == expected


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff\xfe", b'{"message": ""}'])
def test_an_unknown_refusal_still_says_something(body: bytes) -> None:
    error = failure("GET /x", 418, {}, body)
    assert isinstance(error, Invalid)
    assert "GET /x: HTTP 418" in str(error)


def test_a_status_that_nobody_knows_is_told_by_number() -> None:
    assert "HTTP 799:" in str(failure("GET /x", 799, {}, b"odd"))


def test_a_long_page_is_cut() -> None:
    assert len(str(failure("GET /x", 502, {}, b"x" * 10_000))) < 700


def test_errors_within_a_stream() -> None:
    assert isinstance(failure_in_stream("WATCH", {"code": 410}), Expired)
    assert isinstance(failure_in_stream("WATCH", {}), ApiUnavailable)


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
