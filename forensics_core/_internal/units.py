"""Numbers for people, and from them."""

from __future__ import annotations

import re

_STEP = 1024
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGTP]?)(i?)(B?)(?:/s)?", re.ASCII | re.IGNORECASE)


def human_size(count: int, digits: int = 1) -> str:
    """Return a number of bytes in binary units: `1.7 GiB`, `512 B`; `digits` after the point."""
    value = float(count)
    for unit in _UNITS:
        if value < _STEP or unit == _UNITS[-1]:
            break
        value /= _STEP
    return f"{count} B" if unit == "B" else f"{value:.{digits}f} {unit}"


def parse_size(text: str) -> int:
    """Return the bytes that `1048576`, `1MiB`, `1M`, `0.5 GB` or `100MiB/s` says.

    `MB` is a million, as everywhere else; `M` and `MiB` are not. Raises `ValueError`.
    """
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"'{text}' is not a valid size, such as 100MiB")
    number, prefix, binary, unit = match.groups()
    step = 1000 if unit and not binary else _STEP
    power = " KMGTP".index(prefix.upper())
    return int(float(number) * float(step) ** power)
