"""Bytes that a container chose, as JSON that loses nothing.

The kernel keeps names and arguments as bytes; JSON holds Unicode only. A value that is valid UTF-8
becomes a plain string. Any other becomes an object: `text` to read, with each invalid byte
spelled `\\xNN`, and `base64` with the exact bytes.
"""

from __future__ import annotations

import base64
import json
from typing import Any, TypedDict


class Raw(TypedDict):
    """A value that is not UTF-8."""

    text: str
    base64: str


Value = str | Raw
"""What `portable` makes of bytes."""


def portable(data: bytes) -> Value:
    """Return `data` in the form that JSON can hold; see above."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Raw(text=readable(data), base64=base64.b64encode(data).decode())


def readable(data: bytes) -> str:
    r"""Return `data` as text, each byte that is not UTF-8 spelled `\xNN`."""
    return data.decode(errors="backslashreplace")


def document(content: Any) -> bytes:
    """Return `content` as indented UTF-8 JSON, ending in a newline."""
    return json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"
