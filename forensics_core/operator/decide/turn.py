"""Whose turn it is where more captures wait for a node than may run there at once. Pure.

Dying pods come first, then crash-looping ones, then the rest; whoever has waited longer comes
before others as urgent. Waiting makes urgent: an ordinary pod is as urgent as a dying one after
twice `timings.patience`, so that nobody waits for ever behind those who come later.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from forensics_core.api.urgency import Urgency, urgency_of
from forensics_core.operator.observed import Observed, Waiting
from forensics_core.operator.settings import Settings

Rank = tuple[int, datetime, str]
"""The smaller the sooner; no two are alike."""
_UNKNOWN = -1
"""Of a pod that was not looked at since the operator's start: nobody goes before it has been."""


def rank(waiting: Waiting, now: datetime, patience: timedelta) -> Rank:
    """Return the place in line of one that waits."""
    if waiting.urgency is None:
        return _UNKNOWN, waiting.since, waiting.uid
    risen = int((now - waiting.since) / patience)
    return max(0, waiting.urgency - risen), waiting.since, waiting.uid


def has_turn(observed: Observed, settings: Settings) -> bool:
    """Whether there is a place on the node that nobody who is more urgent waits for."""
    free = settings.captures_per_node - observed.busy
    now, patience = observed.now, settings.timings.patience
    own = rank(_own(observed), now, patience)
    ahead = sum(rank(other, now, patience) < own for other in observed.line)
    return ahead < free


def look_due(observed: Observed, settings: Settings) -> datetime | None:
    """Return when a pod that waits has to be looked at again: it may be dying by then."""
    seen = observed.waiting
    return seen.looked_at + settings.timings.waiting_look if seen and seen.looked_at else None


def _own(observed: Observed) -> Waiting:
    metadata = observed.checkpoint.metadata
    if observed.pod is not None and observed.pod.pod is not None:
        urgency: Urgency | None = urgency_of(observed.pod.pod)
    else:
        urgency = observed.waiting.urgency if observed.waiting else None
    return Waiting(metadata.uid or "", metadata.creation_timestamp or observed.now, urgency)
