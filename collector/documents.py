"""Bytes that a container chose, as JSON that loses nothing.

The kernel keeps names and arguments as bytes; JSON holds Unicode only. A value that is valid UTF-8
becomes a plain string. Any other becomes an object: `text` to read, with each invalid byte
spelled `\\xNN`, and `base64` with the exact bytes.

Strings that each end in a NUL, as `cmdline` and `environ` of /proc hold them, become a list of such
values. Any process can make the kernel show megabytes of tiny strings there, each of which
would cost fifty times its size. Such a list becomes an object that holds the bytes as they are:
`base64`, how many `strings` there are in them, whether they are `truncated`, and of how many bytes
(`size`), if known.

Long documents are written (`streamed`) and read (`rows`) without being held.
"""

from __future__ import annotations

import base64
import codecs
import json
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from pydantic_core import PydanticSerializationError, to_json

from forensics_core.bundle.writer import shortened
from forensics_core.errors import SourceError


class EncodedBytes(TypedDict):
    """A value that is not UTF-8."""

    text: str
    base64: str


Value = str | EncodedBytes
"""What `portable` makes of bytes."""


def portable(data: bytes) -> Value:
    """Return `data` in the form that JSON can hold; see above."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return EncodedBytes(text=readable(data), base64=base64.b64encode(data).decode())


def readable(data: bytes) -> str:
    r"""Return `data` as text, each byte that is not UTF-8 spelled `\xNN`."""
    return data.decode(errors="backslashreplace")


def document(content: Any) -> bytes:
    """Return `content` as indented UTF-8 JSON, ending in a newline."""
    # Python's own encoder is a generator of every value as soon as it is to indent.
    try:
        return to_json(content, indent=1, inf_nan_mode="constants") + b"\n"
    except PydanticSerializationError:  # nested deeper than it goes
        return json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"


MAX_STRINGS = 16 * 1024
"""Strings of a list that counts as ordinary."""
MAX_LISTED = 1024 * 1024
"""Bytes of a list that counts as ordinary."""


class RawStrings(TypedDict):
    """A list that is not ordinary."""

    base64: str
    strings: int
    truncated: bool
    size: int | None


Strings = list[Value] | RawStrings


def strings(content: bytes, size: int | None = None, most: int = MAX_STRINGS) -> Strings:
    r"""Return the strings of `content`, of which the last may lack its end.

    `size` is what the whole list has, where `content` is only its beginning; 0 where nobody knows.
    More than `most` strings are no ordinary list.
    """
    if not content:
        return []
    count = content.count(b"\0") + (content[-1] != 0)
    if size is None and count <= most and len(content) <= MAX_LISTED:
        return [portable(part) for part in content.removesuffix(b"\0").split(b"\0")]
    return RawStrings(
        base64=base64.b64encode(content).decode(),
        strings=count,
        truncated=size is not None,
        size=len(content) if size is None else size or None,
    )


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


MAX_NAMES = 50
"""Names kept of one sort; the rest are only counted."""


@dataclass(slots=True)
class BoundedNames:
    """Some of many names, and how many there are."""

    first: list[str] = field(default_factory=list)
    total: int = 0

    def add(self, name: str) -> None:
        """Count `name`, and keep it, or its beginning, while there is room."""
        self.total += 1
        if len(self.first) < MAX_NAMES:
            self.first.append(shortened(name))

    def __str__(self) -> str:
        more = self.total - len(self.first)
        return ", ".join(self.first) + (f" and {more} more" if more else "")
