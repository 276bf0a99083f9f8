"""How an object is cut into parts.

S3 takes at most 10,000 parts of 5 MiB to 5 GiB. Parts begin at 8 MiB, so that small evidence needs
little memory, and double every 1,000 parts, so that large evidence fits.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

from __future__ import annotations

from forensics_core.export.budget import MIB

FIRST = 8 * MIB
LARGEST = 128 * MIB
STEP = 1_000
MAX_PARTS = 10_000


def part_size(number: int, most: int = LARGEST) -> int:
    """Return the size in bytes of part `number`, counted from 1, never above `most`."""
    return min(FIRST << min((number - 1) // STEP, 16), LARGEST, max(most, FIRST))


def capacity(most: int = LARGEST) -> int:
    """Return how many bytes an object of `MAX_PARTS` parts holds."""
    return sum(part_size(number, most) for number in range(1, MAX_PARTS + 1))
