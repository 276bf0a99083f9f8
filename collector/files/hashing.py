"""SHA-256 of files that a container wrote, within a budget: holes cost it nothing, us time.

::

    hashing = Hashing(until=time.monotonic() + 60)
    digest = yield from hashing.digest(place, size)
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import time
from collections.abc import Generator
from dataclasses import dataclass, field

from collector.files.safe_open import open_data, opened
from forensics_core.tarindex.sparse import MAX_HOLES

MAX_FILE = 4 * 1024**3
"""Bytes of one file that are hashed; a longer one gets none."""
MAX_TOTAL = 64 * 1024**3
"""Bytes of all files together."""
_BLOCK = 1024 * 1024
_ZEROS = bytes(_BLOCK)

HashingSteps = Generator[None, None, str | None]
"""Yields after each block, so that others have a turn; returns hexadecimal digits or None."""


@dataclass(slots=True)
class HashingBudget:
    """What may be spent on hashing, and what is left of it."""

    max_file: int = MAX_FILE
    max_total: int = MAX_TOTAL
    max_holes: int = MAX_HOLES
    """Bytes of one file's holes; one with more has no hash in the archive's index either."""
    until: float = math.inf
    """When it ends, by `time.monotonic`."""
    skipped: int = field(default=0, init=False)
    """Files that were not hashed because the budget was spent."""
    _spent: int = field(default=0, init=False)

    def digest(self, place: int, size: int) -> HashingSteps:
        """Return the SHA-256 of the regular file at `place`; None if that costs too much.

        Raises `OSError`.
        """
        if size > self.max_file:
            return None
        digest, offset, holes = hashlib.sha256(), 0, 0
        with opened(open_data(place)) as data:
            while self._affords(offset):
                start = _next_data(data, offset)
                holes += start - offset
                if holes > self.max_holes:
                    return None
                for end in range(offset, start, _BLOCK):
                    digest.update(_ZEROS[: start - end])
                    yield None
                block = os.pread(data, _BLOCK, start)
                digest.update(block)
                self._spent += start + len(block) - offset
                offset = start + len(block)
                if not block:
                    return digest.hexdigest()
                yield None
        return None

    def _affords(self, offset: int) -> bool:
        """Return whether there is budget for another block of a file, `offset` bytes into it."""
        if self._spent >= self.max_total or time.monotonic() >= self.until:
            self.skipped += 1
            return False
        return offset <= self.max_file


def _next_data(data: int, offset: int) -> int:
    """Return where the next byte is that does not lie in a hole; at the end, the end."""
    try:
        return os.lseek(data, offset, os.SEEK_DATA)
    except OSError as error:
        # There is no data any more: a hole up to the end, or the end itself.
        if error.errno != errno.ENXIO:
            raise
        return max(os.fstat(data).st_size, offset)
