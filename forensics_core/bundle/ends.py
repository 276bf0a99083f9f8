"""Copies of the ends of other objects, in the last line of a lookup table.

Who looks for a file needs the seek table of its archive, the index and what is mounted, and each is
a request. A copy is no evidence of its own: that of a whole object has to have the SHA-256 that the
manifest says, and what is found by a seek table is verified wherever that came from. Where a copy
does not fit, the object is read.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping

from forensics_core._internal import strict_json
from forensics_core.bundle.expected import ExpectedObject

FIELD = "ends"
"""The field of the line: from an object's name, in the container's folder, to its last bytes, in
base64."""
LITTLE_INDEX, LITTLE_TABLE = 1024 * 1024, 64 * 1024
"""Bytes of an index, as stored, and of the table of mounts, of which there is a copy: the index has
some 16,000 files then."""


def with_ends(line: bytes, ends: Mapping[str, bytes]) -> bytes:
    """Return a line of a lookup table with copies in it."""
    copies = {name: base64.b64encode(end).decode() for name, end in ends.items()}
    return json.dumps({**json.loads(line), FIELD: copies}).encode() + b"\n"


def ends_in(
    pieces: Iterator[bytes], folder: str, objects: Mapping[str, ExpectedObject]
) -> dict[str, bytes]:
    """Return the copies in a lookup table, by the object's full name; none where it has none.

    `folder` is the container's, with a slash; `objects` are those of the bundle.
    """
    try:
        said = strict_json.loads_row(_last_line(pieces))[FIELD]
        named = {folder + name: base64.b64decode(end, validate=True) for name, end in said.items()}
    except (ValueError, TypeError, LookupError, AttributeError):
        return {}
    return {name: end for name, end in named.items() if _fits(end, objects.get(name))}


def _fits(end: bytes, expected: ExpectedObject | None) -> bool:
    """Whether it can be an end; a copy of a whole object has to be that object."""
    if expected is None or not 0 < len(end) <= (expected.size or 0):
        return False
    whole = len(end) == expected.size
    return not whole or hashlib.sha256(end).hexdigest() == expected.sha256


def _last_line(pieces: Iterator[bytes]) -> bytes:
    last = rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        last = lines[-1] if lines else last
    return last
