"""A JSON document that ends in a long list, without holding the list."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence


async def streamed(
    head: Mapping[str, object], name: str, lists: AsyncIterable[Sequence[str]]
) -> AsyncIterator[bytes]:
    """Yield the object `head` with one more member `name`: the list of all that `lists` hold.

    They hold JSON; each entry gets a line.
    """
    yield f"{json.dumps(head)[:-1]}, {json.dumps(name)}: [".encode()
    separator = "\n"
    async for entries in lists:
        if entries:
            yield (separator + ",\n".join(entries)).encode(errors="backslashreplace")
            separator = ",\n"
    yield b"\n]}\n"
