"""Lines out of chunks, with a limit: what comes from a cluster may never end."""

from __future__ import annotations

from collections.abc import AsyncIterator


async def lines(chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    """Yield each complete line, without its newline, cut to `limit` bytes.

    What follows the last newline is left out: the stream broke off within it.
    """
    held = bytearray()
    async for chunk in chunks:
        *complete, rest = chunk.split(b"\n")
        for piece in complete:
            held += piece[: limit - len(held)]
            yield bytes(held)
            held.clear()
        held += rest[: limit - len(held)]
