"""Text of others, made safe to show: nothing invisible, nothing that steers a terminal."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_IGNORABLE = (
    *((0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5)),
    *((0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164)),
    *((0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8)),
    *((0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF)),
    # Characters like others by Unicode, but blank: Braille without dots, a null note head.
    *((0x2800, 0x2800), (0x1D159, 0x1D159)),
)
"""Code points that are shown as nothing. Source: Unicode, DerivedCoreProperties.txt,
Default_Ignorable_Code_Point, and two blanks."""


def printable(text: str, limit: int = 1024) -> str:
    r"""Return `text` on one line, unsafe characters spelled `\x1b` or `\u202e`, cut to `limit`."""
    cut = text[:limit]
    plain = cut.isascii() and cut.isprintable()
    shown = cut if plain else "".join(map(_shown, cut))
    return f"{shown}…" if len(text) > limit else shown


# Texts are made of few characters, and each takes a look at some twenty ranges.
@lru_cache(maxsize=4096)
def _shown(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    hidden = any(first <= code <= last for first, last in _IGNORABLE)
    if hidden or unicodedata.category(character) in _UNSAFE:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character
