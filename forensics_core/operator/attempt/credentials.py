"""For how long an attempt's own credentials have to last, and what follows if they do not. Pure."""

from __future__ import annotations

from datetime import datetime

from forensics_core.api.order import WorkOrder
from forensics_core.operator.settings import JOB_MARGIN, CollectorSettings
from forensics_core.storage.s3.sts import SessionCredentials

LEAST = 60
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
    seconds = min(order.active_deadline_seconds, max(left, LEAST))
    return order.model_copy(update={"active_deadline_seconds": seconds})
