"""Telling the C library to give memory back.

glibc keeps an arena of its own for each thread, and blocks of several MiB that were freed in one
cannot be used in another: over gigabytes of evidence that costs half as much memory again.

Source: https://man7.org/linux/man-pages/man3/mallopt.3.html
"""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8


def use_one_arena() -> bool:
    """Keep all allocations in one arena; to be called before the first thread starts.

    Returns whether the C library could be told: others than glibc have no such arenas.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_ARENA_MAX, 1) == 1
