"""The frames that the Docker Engine wraps the logs of a container without terminal in.

Source: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator

from forensics_core.errors import SourceError

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
