"""For how long an attempt's own credentials have to last, and what follows if they do not. Pure."""

from __future__ import annotations

from datetime import datetime

from forensics_core.api.order import WorkOrder
from forensics_core.operator.settings import JOB_MARGIN, CollectorSettings
from forensics_core.storage.s3.sts import SessionCredentials

TOLERATED_SECONDS = 30
"""Seconds less that are not worth a word."""
MIN_SECONDS = 60
"""Seconds that a capture gets in any case."""


def seconds_wanted(order: WorkOrder, settings: CollectorSettings) -> int:
    """Return how long they have to last: as long as the Job may, from its making on."""
    return order.active_deadline_seconds + settings.start_seconds + JOB_MARGIN


def within(
    credentials: SessionCredentials, order: WorkOrder, settings: CollectorSettings, now: datetime
) -> WorkOrder:
    """Return the order with no more time than its credentials leave.

    A collector that ends by itself stores what it has, and says so; one whose credentials end
    before loses even that.
    """
    left = int((credentials.expires - now).total_seconds()) - settings.start_seconds - JOB_MARGIN
    seconds = min(order.active_deadline_seconds, max(left, MIN_SECONDS))
    return order.model_copy(update={"active_deadline_seconds": seconds})


def shortened(wanted: WorkOrder, given: WorkOrder, role: str) -> str:
    """Return what to tell of a capture that got less time than was asked for; empty of others.

    A session lasts some seconds less than was asked for, as it takes time to get it.
    """
    if wanted.active_deadline_seconds - given.active_deadline_seconds <= TOLERATED_SECONDS:
        return ""
    return (
        f"The capture ends after {given.active_deadline_seconds} s, not "
        f"{wanted.active_deadline_seconds} s, for its credentials end then: {role} gives none for "
        "longer. Raise its MaxSessionDuration, which helps up to 12 hours and not where a role "
        "assumes it, or have the collector use another kind of credentials."
    )
