"""How the node's clock disagreed with that of the store, as the manifest has both.

Whoever puts a node's times beside those of others has to move the ones or the others, and say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from forensics_core.bundle.manifest import Clocks

TOLERATED = 2.0
"""Seconds that are told of nobody: the store says whole ones, and its answer takes a while."""


def skew(clocks: Sequence[Clocks]) -> float | None:
    """Return how many seconds the node's clock was ahead of the store's; None if nobody knows."""
    ahead = [(each.node - each.destination).total_seconds() for each in clocks if each.destination]
    return median(ahead) if ahead else None


def correction(clocks: Sequence[Clocks]) -> int:
    """Return the nanoseconds by which times of the node are to be moved back; 0 where it agrees."""
    ahead = skew(clocks) or 0.0
    return round(ahead) * 10**9 if abs(ahead) > TOLERATED else 0


def disagreement(clocks: Sequence[Clocks]) -> str:
    """Return a sentence about clocks that disagreed by more than `TOLERATED`; empty if none did."""
    ahead = skew(clocks)
    if ahead is None or abs(ahead) <= TOLERATED:
        return ""
    how = "ahead of" if ahead > 0 else "behind"
    return f"The node's clock was {abs(ahead):,.0f} s {how} the store's"
