"""The kernel's ring buffer: modules that were loaded, programs that crashed, what was killed.

From /dev/kmsg, or by syslog(2) where there is no such device. Both need the capability `SYSLOG`
where `kernel.dmesg_restrict` is set. /proc/kmsg is never opened: reading it takes lines away.

Source: Documentation/ABI/testing/dev-kmsg, syslog(2)
"""

from __future__ import annotations

import ctypes
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from collector.documents import portable
from collector.node.abandonable import raise_if_abandoned
from collector.node.ebpf import since_boot
from collector.node.netlink_fields import NetlinkRow

DEVICE = Path("/dev/kmsg")
MAX_BYTES = 1024 * 1024
"""Bytes of the buffer that are kept, the newest."""
_RECORD = 16 * 1024
_READ_ALL, _SIZE = 3, 10
_HEAD = re.compile(rb"(\d+),(\d+),(\d+),[^;]*;")
_LINE = re.compile(rb"<(\d+)>(?:\[ *(\d+)\.(\d{6})\] ?)?(.*)")
_LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
KernelLogCall = Callable[[int, int], bytes]
_libc = ctypes.CDLL(None, use_errno=True)


class KernelLog(NamedTuple):
    """The ring buffer, as far as it was read."""

    source: str
    """`kmsg` or `syslog`."""
    rows: list[NetlinkRow]
    """The oldest first."""
    lost: bool = False
    """Whether there were more: too many to be kept, or overwritten while they were read."""


def kernel_log(
    device: Path = DEVICE, limit: int = MAX_BYTES, read: KernelLogCall = os.read
) -> KernelLog:
    """Return the buffer. Raises `OSError`."""
    try:
        rows = list(_records(device, limit, read))
    except OSError:
        data, cut = _buffer()
        rows = [row for line in data.split(b"\n") if (row := parse_line(line))]
        return KernelLog("syslog", rows, cut)
    return KernelLog("kmsg", [row for row in rows if row], _are_lost(rows))


def _are_lost(rows: Sequence[NetlinkRow]) -> bool:
    """Whether records are missing, by their numbers; an empty row is in the place of some."""
    numbers = [row["sequence"] for row in rows if row]
    jumps = any(later - before > 1 for before, later in pairwise(numbers))
    return jumps or not all(rows)


def _records(device: Path, limit: int, read: KernelLogCall) -> Iterator[NetlinkRow]:
    """Read to the end, and keep the newest; an empty row is for what is not kept."""
    kept, size, cut = deque[bytes](), 0, False
    descriptor = os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with closing(os.fdopen(descriptor, "rb", buffering=0)), suppress(BlockingIOError):
        while record := _record(descriptor, read):
            raise_if_abandoned()
            kept.append(record)
            size += len(record)
            while size > limit and len(kept) > 1:
                size -= len(kept.popleft())
                cut = True
    if cut:
        yield {}
    for record in kept:
        yield parse_record(record) or {}


def _record(descriptor: int, read: KernelLogCall) -> bytes:
    """Return the next record that was not overwritten before it was read."""
    while True:
        with suppress(BrokenPipeError):
            return read(descriptor, _RECORD)


def parse_record(record: bytes) -> NetlinkRow | None:
    """Return one record of /dev/kmsg; None for what is none."""
    match = _HEAD.match(record)
    if not match:
        return None
    priority, sequence, moment = (int(part) for part in match.groups())
    message, _, more = record[match.end() :].partition(b"\n")
    row = _row(priority, moment, message) | {"sequence": sequence}
    return row | ({"details": portable(more.rstrip(b"\n"))} if more.strip() else {})


def parse_line(line: bytes) -> NetlinkRow | None:
    """Return one line of syslog(2)'s answer; None for what is none."""
    match = _LINE.fullmatch(line)
    if not match:
        return None
    priority, seconds, microseconds, message = match.groups()
    moment = int(seconds) * 1_000_000 + int(microseconds) if seconds else None
    return _row(int(priority), moment, message)


def _row(priority: int, moment: int | None, message: bytes) -> NetlinkRow:
    return {
        "time": None if moment is None else moment_of(moment),
        "sinceBoot": None if moment is None else moment / 1e6,
        "level": _LEVELS[priority & 7],
        "facility": priority >> 3,
        "message": portable(message),
    }


def moment_of(microseconds: int) -> str | None:
    """Return when that was, as well as the clock of now tells; None where that is no time."""
    try:
        return since_boot(microseconds * 1000)
    except (OverflowError, ValueError, OSError):
        return None


def _buffer() -> tuple[bytes, bool]:
    """Return the buffer by syslog(2), which leaves it as it is, and whether it has more.

    Raises `OSError`.
    """
    size = min(max(_libc.klogctl(_SIZE, None, 0), 0) or _RECORD, MAX_BYTES)
    buffer = ctypes.create_string_buffer(size)
    told = _libc.klogctl(_READ_ALL, buffer, size)
    if told < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"syslog(2) is refused: {os.strerror(code)}")
    # As text it is longer than in the buffer: of a full one the oldest lines are left out.
    return buffer.raw[:told], told >= size - _RECORD
