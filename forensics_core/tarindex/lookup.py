"""A Bloom filter of the paths in a chunk of rows: which chunks can hold a path, which cannot.

It never denies a path that is there, and affirms one that is not in about one case of a hundred.

Source: https://doi.org/10.1145/362686.362692
"""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

BITS_PER_KEY = 12
PROBES = 3


class PathFilter:
    """Answers for single paths, and for directories with something directly in them."""

    def __init__(self, bits: bytes) -> None:
        self.bits = bits

    @classmethod
    def of(cls, paths: Iterable[bytes]) -> PathFilter:
        """Make the filter of absolute paths."""
        names = list(paths)
        folders = {path[: path.rfind(b"/") + 1] for path in names}
        keys = {*map(crc32, names), *map(crc32, folders)}
        bits = bytearray(-(-len(keys) * BITS_PER_KEY // 8))
        total = 8 * len(bits)
        for key in keys:
            # Spelled out, as `_step` and a loop of `PROBES` take three times as long.
            step = ((key >> 15 | key << 17) & 0xFFFFFFFF) | 1
            first, second, third = key % total, (key + step) % total, (key + 2 * step) % total
            bits[first >> 3] |= 1 << (first & 7)
            bits[second >> 3] |= 1 << (second & 7)
            bits[third >> 3] |= 1 << (third & 7)
        return cls(bytes(bits))

    def may_hold(self, path: bytes) -> bool:
        """Whether the chunk can have a row of this path."""
        return self._has(crc32(path))

    def may_list(self, directory: bytes) -> bool:
        """Whether the chunk can have rows of what lies directly in this directory."""
        return self._has(crc32(directory.rstrip(b"/") + b"/"))

    def _has(self, key: int) -> bool:
        total, step = 8 * len(self.bits), _step(key)
        places = ((key + turn * step) % total for turn in range(PROBES))
        return bool(total) and all(self.bits[place >> 3] & 1 << (place & 7) for place in places)


def _step(key: int) -> int:
    """Return the distance between two probes: odd, and made of the key's other bits."""
    return ((key >> 15 | key << 17) & 0xFFFFFFFF) | 1
