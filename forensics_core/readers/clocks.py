"""How the node's clock disagreed with that of the store, as the manifest has both.

A node's times are told as its clock had them: who compares them with other logs has to know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from forensics_core.bundle.manifest import Clocks

TOLERATED = 2.0
"""Seconds that are told of nobody: the store says whole ones, and its answer takes a while."""


def skew(clocks: Sequence[Clocks]) -> float | None:
    """Return how many seconds the node's clock was ahead of the store's; None if nobody knows."""
    ahead = [(each.node - each.destination).total_seconds() for each in clocks if each.destination]
    return median(ahead) if ahead else None


def skew_notes(clocks: Sequence[Clocks]) -> Iterator[str]:
    """Yield a sentence where the clocks disagreed by more than `TOLERATED` seconds."""
    ahead = skew(clocks)
    if ahead is not None and abs(ahead) > TOLERATED:
        how = "ahead of" if ahead > 0 else "behind"
        yield (
            f"The node's clock was {abs(ahead):,.0f} s {how} the store's: times that the node gave "
            "are told as its clock had them"
        )
