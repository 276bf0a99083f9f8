"""Logs as the Docker Engine shows them, and as the files of the driver `json-file` hold them.

It shows them in frames, unless the container has a terminal. The files have one JSON object a
line: `{"log": "text\\n", "stream": "stdout", "time": "2026-01-01T00:00:00.5Z"}`. After a crash of
the machine there may be a run of NULs in between, where the engine's own answer ends without a
word.

Sources: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach
and https://docs.docker.com/engine/logging/drivers/json-file/
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from anyio import to_thread

from collector.docker.storage import JSON_FILE
from collector.files.logfiles import LogFile, LogFiles
from forensics_core.errors import ForensicsError, SourceError

_HEADER = 8
"""Bytes: the stream's number, three zeros, and the length, big-endian."""


async def payloads(blocks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield what the frames carry, however `blocks` cut them; frames may be of any length.

    Raises `SourceError` if the last frame is not whole.
    """
    left, header = 0, b""
    async for block in blocks:
        start = 0
        while start < len(block):
            if left:
                payload = block[start : start + left]
                start, left = start + len(payload), left - len(payload)
                yield payload
                continue
            missing = _HEADER - len(header)
            header += block[start : start + missing]
            start += missing
            if len(header) == _HEADER:
                left, header = int.from_bytes(header[4:], "big"), b""
    if left or header:
        raise SourceError("The log ended in the middle of a frame", hint="Capture it again")


async def difference(logs: LogFiles, shown: Callable[[str], Awaitable[int]]) -> str:
    """Return how what the engine shows differs from the files of the driver `json-file`.

    `shown` returns how many bytes it shows up to a time. Where the files are too large for a cheap
    answer, or another driver's, or where the engine does not answer, nothing is said.
    """
    files = [file for file in logs.files if file.name.startswith(JSON_FILE)]
    if not files or len(files) < logs.total:
        return ""
    try:
        found = await to_thread.run_sync(tally, files)
        size = await shown(found.until) if found.size else 0
    except (TooMuch, OSError, zlib.error, ForensicsError):
        return ""
    if size == found.size and not found.damaged:
        return ""
    return (
        f"The files hold {found.size} bytes of output and {found.damaged} damaged lines; "
        f"the Docker Engine's own answer (docker logs, kubectl logs) has {size} bytes"
    )


LIMIT = 32 * 1024 * 1024
"""Bytes of all files, unpacked, that are looked at: what is larger is not compared."""
_BLOCK = 256 * 1024
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")
_GZIP = 31
"""How zlib calls the format of gzip."""


class TooMuch(Exception):
    """There is more than `LIMIT`."""


@dataclass(slots=True)
class LogTally:
    """What was found in the files."""

    size: int = 0
    """Bytes that the container wrote."""
    damaged: int = 0
    """Lines that are no entries."""
    nanoseconds: int = 0
    """When the latest entry was written, since 1970."""

    @property
    def until(self) -> str:
        """The same as the engine's API takes it."""
        return stamp(self.nanoseconds)

    def add_line(self, line: bytes) -> None:
        """Take in a line."""
        try:
            entry = json.loads(line.strip(b"\0"))
            size, when = len(entry["log"].encode(errors="replace")), nanoseconds(entry["time"])
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            self.damaged += 1
            return
        self.size += size
        self.nanoseconds = max(self.nanoseconds, when)


def tally(files: Iterable[LogFile], limit: int = LIMIT) -> LogTally:
    """Return how much output is in files of `limit` bytes, unpacked.

    Raises `TooMuch`, `OSError` and `zlib.error`.
    """
    found, left = LogTally(), limit
    for file in files:
        rest = b""  # what has no end yet is being written
        for block in _blocks(file, limit):
            left -= len(block)
            if left < 0:
                raise TooMuch
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                found.add_line(line)
    return found


def _blocks(file: LogFile, limit: int) -> Iterator[bytes]:
    """Yield the content, unpacked; what is no gzip ends it."""
    unpacker = zlib.decompressobj(_GZIP) if file.media_type == "application/gzip" else None
    for position in range(0, min(file.size, limit + 1), _BLOCK):
        data = os.pread(file.descriptor, min(_BLOCK, file.size - position), position)
        while data:
            yield unpacker.decompress(data, _BLOCK) if unpacker else data
            data = unpacker.unconsumed_tail if unpacker else b""


def nanoseconds(text: str) -> int:
    """Return RFC 3339, with any number of digits behind the second, since 1970.

    Raises `ValueError` and `TypeError` for what it is not.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not a valid time")
    seconds, fraction, zone = match.groups(default="")
    whole = int(datetime.fromisoformat(seconds + zone).timestamp())
    return whole * 10**9 + int(fraction.ljust(9, "0")[:9])


def stamp(nanoseconds: int) -> str:
    """Return a time since 1970 as the engine's API takes it."""
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"
