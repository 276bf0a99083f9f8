"""One moment of a timeline, and how times are read and written.

Times are whole nanoseconds since 1970 in UTC: integers, because a file's time may lie before 1970
and beyond any calendar.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

SECOND = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DECIMAL = re.compile(r"(-?)(\d{1,20})(?:\.(\d{1,9})\d*)?")
_STAMP = re.compile(
    r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)


class EntrySource(StrEnum):
    """Where an entry comes from."""

    FILE = "file"
    PROCESS = "process"
    EXEC = "exec"
    """A session that somebody began in the container from outside."""
    CONNECTION = "connection"
    LOG = "log"
    EVENT = "event"
    """Of the cluster."""
    CONTAINER = "container"
    RECORDING = "recording"
    """What was seen to happen while the capture ran."""
    CAPTURE = "capture"
    """The capture itself, so that nobody takes its traces for the intruder's."""


class TimelineEntry(NamedTuple):
    """Something that happened at one time. A tuple, so that a million of them sort fast."""

    time: int
    """Nanoseconds since 1970."""
    source: EntrySource
    container: str
    """Empty where it concerns the whole pod."""
    message: str
    what: str
    """What the time is of, in the words of the field: `Content Modification Time`."""
    path: str = ""
    """Of a file: its path in the container."""
    marks: str = ""
    """Of a file: which of its times these are, as mactime writes them: `m.c.`."""
    sha256: str = ""


def from_decimal(seconds: str) -> int | None:
    """Return the nanoseconds of the index's decimal seconds; None where there are none."""
    # The plain case first: of a million files there are four million.
    digits, _, rest = seconds.partition(".")
    if digits.isdecimal() and rest.isdecimal() and len(digits) <= 20 and seconds.isascii():
        return int(digits + rest[:9].ljust(9, "0"))
    match = _DECIMAL.fullmatch(seconds)
    if not match:
        return None
    sign, whole, fraction = match.groups()
    value = int(whole) * SECOND + int((fraction or "").ljust(9, "0"))
    return -value if sign else value


def from_stamp(text: str, *, whole: bool = False) -> int | None:
    """Return the nanoseconds of the RFC 3339 time that `text` begins with; UTC without a zone.

    With `whole` nothing may follow: it could be a zone that would go unheard.
    """
    match = _STAMP.fullmatch(text) if whole else _STAMP.match(text)
    if not match:
        return None
    moment, fraction, zone = match.groups()
    try:
        aware = datetime.fromisoformat(moment + (zone or "Z"))
    except ValueError:
        return None
    return from_datetime(aware) + int((fraction or "").ljust(9, "0"))


def from_datetime(moment: datetime) -> int:
    """Return the nanoseconds of an aware time."""
    past = moment - _EPOCH
    return (past.days * 86_400 + past.seconds) * SECOND + past.microseconds * 1000


def to_stamp(time: int) -> str:
    """Return RFC 3339 with nanoseconds, or `@SECONDS` for a time that no calendar has."""
    seconds, rest = divmod(time, SECOND)
    days, second = divmod(seconds, 86_400)
    if not (date := _date(days)):
        return f"@{seconds}.{rest:09d}"
    minute = second // 60
    return f"{date}T{minute // 60:02d}:{minute % 60:02d}:{second % 60:02d}.{rest:09d}Z"


@lru_cache(maxsize=1024)
def _date(days: int) -> str:
    """Return the date so many days from 1970; neighbours in an ordered timeline share them."""
    try:
        return (_EPOCH + timedelta(days=days)).isoformat()[:10]
    except OverflowError:
        return ""
