"""Which level of zstd is the right one: that by which processor and network take equally long.

Compressed blocks wait for the network, and there is room for so many of them. While it is nearly
full, the network is the slower of the two, and more work on each block saves time; while it is
nearly empty, the processor is, and less work does. So the level follows the room, step by step::

    levels = LevelControl(storage.fullness)
    frame = compress(block, levels.level)
    levels.passed()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

LEVELS = (-1, 1, 2, 3, 5, 6, 7)
"""From the fastest on. Still faster ones save a tenth of compressing each, and store a sixth more;
4 saves less than 3 for its price; beyond 7 a third more of time saves a hundredth, and a compressor
takes more memory than the blocks."""
FIRST = 1
"""Where to begin, and to stay, where nobody knows how full the room is."""
UNKNOWN = 3
"""Where to begin while nothing has come through the network yet. Below it a slow one would have the
room full of large blocks before that shows; a fast one shows at once."""
NEARLY_FULL, NEARLY_EMPTY = 0.6, 0.25
"""Shares of the room. Between them the network never waits for a block, nor a block for long."""
SETTLING = 4
"""Blocks until a change can be felt: those that were on their way already."""


class LevelControl:
    """The level for the next block, which all uploads to one destination share.

    `fullness` is the share of the room that is taken, from 0 to 1; None while nobody knows whether
    anything comes through.
    """

    def __init__(
        self, fullness: Callable[[], float | None] | None = None, levels: Sequence[int] = LEVELS
    ) -> None:
        self._fullness = fullness
        self._levels = levels
        first = FIRST if fullness is None else UNKNOWN
        self._at = levels.index(first) if first in levels else 0
        self._passed = 0

    @property
    def level(self) -> int:
        """What the next block is to be compressed at. May be asked in any thread."""
        return self._levels[self._at]

    def passed(self) -> None:
        """Count a block that goes on, and choose anew once a change could be felt."""
        self._passed += 1
        if self._fullness is None or self._passed < SETTLING:
            return
        self._passed = 0
        full = self._fullness()
        if full is None:
            return
        step = (full >= NEARLY_FULL) - (full <= NEARLY_EMPTY)
        self._at = min(max(self._at + step, 0), len(self._levels) - 1)
