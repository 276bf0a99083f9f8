"""How an object is cut into parts.

S3 takes at most 10,000 parts of 5 MiB to 5 GiB. Parts begin at 8 MiB, so that small evidence needs
little memory, and double every 1,000 parts up to 128 MiB, so that large evidence fits: 867 GiB. A
part that exceeds the budget for bytes in flight is sent alone.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence

from awscrt import checksums

from forensics_core.storage.budget import MIB
from forensics_core.storage.objects import Buffer

FIRST = 8 * MIB
LARGEST = 128 * MIB
STEP = 1_000


def part_size(number: int) -> int:
    """Return the size in bytes of part `number`, counted from 1."""
    return min(FIRST << min((number - 1) // STEP, 16), LARGEST)


def capacity(parts: int) -> int:
    """Return how many bytes an object of so many parts holds."""
    return sum(part_size(number) for number in range(1, parts + 1))


SLICE = MIB
_SMALL = 256 * 1024


class PartBody:
    """Blocks, joined where they are many and small, sent as slices of at most 1 MiB."""

    def __init__(self, blocks: Sequence[Buffer]) -> None:
        self._size = sum(len(block) for block in blocks)
        # Joining small ones costs less than as many writes to the socket; large ones stay uncopied.
        if len(blocks) > 1 and self._size < _SMALL * len(blocks):
            blocks = [b"".join(blocks)]
        self._blocks = [memoryview(block) for block in blocks]
        self.on_progress: Callable[[], None] = lambda: None
        """Called for each slice that the connection took."""

    def __len__(self) -> int:
        return self._size

    # With no bytes it would be false, which clients take for no body at all.
    def __bool__(self) -> bool:
        return True

    # A body of `bytes` takes the client twice the CPU time, as measured; and each slice that the
    # connection took is progress.
    async def __aiter__(self) -> AsyncIterator[memoryview]:
        for block in self._blocks:
            for start in range(0, len(block), SLICE):
                yield block[start : start + SLICE]
                self.on_progress()

    def crc64(self, previous: int = 0) -> int:
        """Return the CRC-64/NVME of the whole part, carried on from `previous`."""
        for block in self._blocks:
            previous = checksums.crc64nvme(block, previous)
        return previous

    def md5(self) -> bytes:
        """Return the MD5 of the part, for stores that know no other checksum."""
        digest = hashlib.md5(usedforsecurity=False)
        for block in self._blocks:
            digest.update(block)
        return digest.digest()

    def sha256(self) -> bytes:
        """Return the SHA-256 of the part."""
        digest = hashlib.sha256()
        for block in self._blocks:
            digest.update(block)
        return digest.digest()

    def tell(self) -> int:
        """Return 0: every attempt begins at the beginning."""
        return 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Rewind, or report the length: all that an HTTP client asks for."""
        return self._size if whence == 2 else offset

    def read(self, size: int = -1) -> bytes:
        """Return all bytes at once, for a client that cannot iterate."""
        return b"".join(self._blocks)
