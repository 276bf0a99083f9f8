"""Whose turn it is where more captures wait for a node than may run there at once. Pure.

Dying pods come first, then crash-looping ones, then the rest; whoever has waited longer comes
before others as urgent. Waiting makes urgent: an ordinary pod is as urgent as a dying one after
twice `timings.aging`, so that nobody waits for ever behind those who come later.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from forensics_core.api.urgency import WaitingCapture

Rank = tuple[int, datetime, str]
"""The smaller the sooner; no two are alike."""
_UNKNOWN = -1
"""Of a pod that was not looked at since the operator's start: nobody goes before it has been."""


def rank(waiting: WaitingCapture, now: datetime, aging: timedelta) -> Rank:
    """Return the place in line of one that waits."""
    if waiting.urgency is None:
        return _UNKNOWN, waiting.since, waiting.uid
    risen = int((now - waiting.since) / aging)
    return max(0, waiting.urgency - risen), waiting.since, waiting.uid


def has_turn(
    own: WaitingCapture,
    others: Iterable[WaitingCapture],
    free: int,
    now: datetime,
    aging: timedelta,
) -> bool:
    """Whether one of the `free` places of a node is its own: nobody more urgent waits for it."""
    mine = rank(own, now, aging)
    return sum(rank(other, now, aging) < mine for other in others) < free


def look_due(waiting: WaitingCapture | None, after: timedelta) -> datetime | None:
    """Return when a pod that waits has to be looked at again: it may be dying by then."""
    return waiting.looked_at + after if waiting and waiting.looked_at else None
