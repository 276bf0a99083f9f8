"""Logs as the Docker Engine shows them: in frames, unless the container has a terminal.

Source: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable

from anyio import to_thread

from collector.docker.jsonfile import TooMuch, tally
from collector.docker.logfiles import JSON_FILE
from collector.files.logfiles import LogFiles
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
