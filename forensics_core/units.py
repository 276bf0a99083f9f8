"""Numbers for people."""

from __future__ import annotations

_STEP = 1024
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def human_size(count: int, digits: int = 1) -> str:
    """Return a number of bytes in binary units: `1.7 GiB`, `512 B`; `digits` after the point."""
    value = float(count)
    for unit in _UNITS:
        if value < _STEP or unit == _UNITS[-1]:
            break
        value /= _STEP
    return f"{count} B" if unit == "B" else f"{value:.{digits}f} {unit}"
