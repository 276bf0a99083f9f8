"""Timestamps of log lines, as container runtimes write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from forensics_core.kube.logs import Instant, parse_line

SECONDS = int(datetime(2026, 11, 23, 5, 59, 15, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("stamp", "instant"),
    [
        ("2026-11-23T05:59:15.669268468Z", (SECONDS, 669268468)),
        ("2026-11-23T05:59:15.1Z", (SECONDS, 100000000)),
        ("2026-11-23T05:59:15Z", (SECONDS, 0)),
        ("2026-11-23T07:59:15.000000001+02:00", (SECONDS, 1)),
    ],
)
def test_nanoseconds_and_time_zones_are_kept(stamp: str, instant: Instant) -> None:
    found, line = parse_line(f"{stamp} a  b ".encode())
    assert found == instant
    assert line.text == b"a  b "
    assert line.time is not None
    assert int(line.time.timestamp()) == SECONDS


def test_an_empty_line_is_one() -> None:
    assert parse_line(b"2026-11-23T05:59:15.669268468Z ")[1].text == b""


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no stamp",
        b"2026-11-23T05:59:15.669268468Z",
        b"2026-13-23T05:59:15.669268468Z x",
        b"\xff\xff\xff\xff-11-23T05:59:15.669268468Z x",
        b"9999-12-31T23:59:59-23:59 x",
        b"0001-01-01T00:00:00+23:59 x",
    ],
)
def test_what_has_no_legible_stamp_is_passed_on_whole(raw: bytes) -> None:
    instant, line = parse_line(raw)
    assert (instant, line.text, line.time) == (None, raw, None)
