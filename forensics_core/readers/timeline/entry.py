"""One moment of a timeline, and how times are read and written.

Times are whole nanoseconds since 1970 in UTC: integers, because a file's time may lie before 1970
and beyond any calendar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

SECOND = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DECIMAL = re.compile(r"(-?)(\d{1,20})(?:\.(\d{1,9})\d*)?")
_STAMP = re.compile(
    r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)


class Source(StrEnum):
    """Where an entry comes from."""

    FILE = "file"
    PROCESS = "process"
    LOG = "log"
    EVENT = "event"
    """Of the cluster."""
    CONTAINER = "container"
    CAPTURE = "capture"
    """The capture itself, so that nobody takes its traces for the intruder's."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened at one time."""

    time: int
    """Nanoseconds since 1970."""
    what: str
    """What the time is of, in the words of the field: `Content Modification Time`."""
    source: Source
    container: str
    """Empty where it concerns the whole pod."""
    message: str
    path: str = ""
    """Of a file: its path in the container."""
    marks: str = ""
    """Of a file: which of its times these are, as mactime writes them: `m.c.`."""
    sha256: str = ""


def from_decimal(seconds: str) -> int | None:
    """Return the nanoseconds of the index's decimal seconds; None where there are none."""
    match = _DECIMAL.fullmatch(seconds)
    if not match:
        return None
    sign, whole, fraction = match.groups()
    value = int(whole) * SECOND + int((fraction or "").ljust(9, "0"))
    return -value if sign else value


def from_stamp(text: str) -> int | None:
    """Return the nanoseconds of the RFC 3339 time that `text` begins with; UTC without a zone."""
    match = _STAMP.match(text)
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
    try:
        return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z".zfill(30)
    except (OverflowError, ValueError):
        return f"@{seconds}.{rest:09d}"
