"""How an object is cut into parts.

S3 takes at most 10,000 parts of 5 MiB to 5 GiB. Parts begin at 8 MiB, so that small evidence needs
little memory, and double every 1,000 parts up to 128 MiB, so that large evidence fits: 867 GiB. A
part that exceeds the budget for bytes in flight is sent alone.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

from __future__ import annotations

from forensics_core.storage.budget import MIB

FIRST = 8 * MIB
LARGEST = 128 * MIB
STEP = 1_000
MAX_PARTS = 10_000


def part_size(number: int) -> int:
    """Return the size in bytes of part `number`, counted from 1."""
    return min(FIRST << min((number - 1) // STEP, 16), LARGEST)


def capacity() -> int:
    """Return how many bytes an object of `MAX_PARTS` parts holds."""
    return sum(part_size(number) for number in range(1, MAX_PARTS + 1))
