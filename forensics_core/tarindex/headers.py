"""Blocks of 512 bytes, as POSIX and GNU tar write them, and the records of pax headers.

Sources: https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html
https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""

from __future__ import annotations

from functools import lru_cache
from zlib import adler32

BLOCK = 512
"""Bytes of a header, and what all data is padded to a multiple of."""
EXTENSIONS = frozenset(b"xgLKXV")
"""Type flags of headers that only say something about the next member; `V` names the volume."""
MAX_EXTENSION = 16 * 1024 * 1024
"""Bytes that such a header may have: a few names and extended attributes."""

_ADLER = 65521
_ENDS = b"\0 "
_KEPT = 4096
"""Fields of which the meaning is remembered: sums, modes and owners come again and again."""


class NotTar(ValueError):
    """What should be a header is none."""


def kind_of(block: bytes) -> int:
    """Return the type flag of a header that is not all zeros. Raises `NotTar`."""
    if block[257:262] != b"ustar" or not _sums_up(block):
        raise NotTar("a header is damaged")
    return block[156]


def _sums_up(block: bytes) -> bool:
    """Compare the sum of all bytes with what is stated, whose own bytes count as blanks.

    Adler-32's lower half is one more than the sum of the bytes modulo 65521, at C's speed.
    """
    return (adler32(block) & 0xFFFF) == _stated(block[148:156])


@lru_cache(_KEPT)
def _stated(field: bytes) -> int:
    """Return the lower half of Adler-32 that a header has with this sum in it."""
    # The field ends in a NUL and a blank.
    return (number(field, 0, 7) - 8 * 32 + (adler32(field) & 0xFFFF)) % _ADLER


def name_in(block: bytes) -> bytes:
    """Return the member's name, as the header has it."""
    name = block[:100].partition(b"\0")[0]
    # GNU's own format keeps other things where POSIX has the first part of a long name.
    if block[345] and block[262] == 0:
        return block[345:500].partition(b"\0")[0] + b"/" + name
    return name


def target_in(block: bytes) -> bytes:
    """Return what a link leads to."""
    return block[157:257].partition(b"\0")[0]


def number(block: bytes, start: int, end: int) -> int:
    """Return the number in a field: octal digits, or GNU's base 256. Raises `NotTar`."""
    try:
        return int(block[start : end - 1 if block[end - 1] in _ENDS else end], 8)
    except ValueError:
        return _unusual(block[start:end])


@lru_cache(_KEPT)
def known_number(field: bytes) -> int:
    """Return the number in a whole field that many headers have alike. Raises `NotTar`."""
    return number(field, 0, len(field))


def _unusual(field: bytes) -> int:
    if field[0] & 0x80:
        value = int.from_bytes(field, "big")
        bits = 8 * len(field)
        return value - (1 << bits) if field[0] & 0x40 else value & ~(1 << (bits - 1))
    digits = field.strip(b"\0 ")
    try:
        return int(digits, 8) if digits else 0
    except ValueError as error:
        raise NotTar(f"{field!r} is not a number") from error


def records(data: bytes) -> dict[bytes, bytes]:
    """Return the keywords and values of a pax header. Raises `NotTar`.

    Values are any bytes: line ends as well.
    """
    found: dict[bytes, bytes] = {}
    start, end = 0, len(data)
    try:
        while start < end:
            blank = data.index(b" ", start, start + 20)
            after = start + int(data[start:blank])
            equals = data.index(b"=", blank, after)
            if after > end or data[after - 1] != 10:
                raise NotTar("a pax header is damaged")
            found[data[blank + 1 : equals]] = data[equals + 1 : after - 1]
            start = after
    except (ValueError, IndexError) as error:
        raise NotTar("a pax header is damaged") from error
    return found


def padded(size: int) -> int:
    """Return `size`, rounded up to whole blocks."""
    return -(-size // BLOCK) * BLOCK
