"""Lists of strings that each end in a NUL, as `cmdline` and `environ` of /proc hold them.

An ordinary list becomes a JSON list of what `collector.documents.text` makes of each string. Any
process can make the kernel show megabytes of tiny strings there, each of which would cost fifty
times its size. Such a list becomes an object that holds the bytes as they are: `base64`, how many
`strings` there are in them, whether they are `truncated`, and of how many bytes (`size`), if known.
"""

from __future__ import annotations

import base64
from typing import TypedDict

from collector.documents.text import Value, portable

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


def strings(content: bytes, size: int | None = None) -> Strings:
    r"""Return the strings of `content`, of which the last may lack its end.

    `size` is what the whole list has, where `content` is only its beginning; 0 where nobody knows.
    """
    if not content:
        return []
    count = content.count(b"\0") + (content[-1] != 0)
    if size is None and count <= MAX_STRINGS and len(content) <= MAX_LISTED:
        return [portable(part) for part in content.removesuffix(b"\0").split(b"\0")]
    return RawStrings(
        base64=base64.b64encode(content).decode(),
        strings=count,
        truncated=size is not None,
        size=len(content) if size is None else size or None,
    )
