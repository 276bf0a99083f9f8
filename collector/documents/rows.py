"""The objects of a long JSON array, one after the other, without holding the array."""

from __future__ import annotations

import codecs
import json
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from forensics_core.errors import SourceError

_DECODER = json.JSONDecoder()


async def rows(blocks: AsyncIterable[bytes]) -> AsyncIterator[dict[str, Any]]:
    """Yield the objects of the array that `blocks` spell; `null` is an empty one.

    Raises `SourceError` if it is no such array, or ends too early.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = ""
    async for block in blocks:
        text += decoder.decode(block)
        found, text = _take(text)
        for row in found:
            yield row
    if text.strip(" \r\n") not in {"]", "null", "[]"}:
        raise SourceError(
            "The runtime's list ended in the middle", hint="See whether it still runs"
        )


def _take(text: str) -> tuple[list[dict[str, Any]], str]:
    """Return the objects that are whole in `text`, and what is left of it."""
    found: list[dict[str, Any]] = []
    start = 0
    while (brace := text.find("{", start)) >= 0:
        try:
            row, start = _DECODER.raw_decode(text, brace)
        except json.JSONDecodeError:
            return found, text[brace:]
        found.append(row)
    return found, text[start:]
