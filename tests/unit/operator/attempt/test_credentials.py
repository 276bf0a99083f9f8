"""An attempt's time, where its credentials leave less than was asked for."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from forensics_core.api.order import WorkOrder
from forensics_core.operator.attempt.credentials import MIN_SECONDS, shortened, within
from forensics_core.operator.settings import JOB_MARGIN, CollectorSettings
from forensics_core.storage.s3.sts import SessionCredentials
from tests.unit.operator.samples import NOW

ORDER = WorkOrder(destination="s3://cases", bundle="b", uid=uuid4(), active_deadline_seconds=3600)
ROLE = "arn:aws:iam::111122223333:role/collector"
SETTINGS = CollectorSettings(image="x")


@pytest.mark.parametrize(
    ("lasts", "seconds"), [(6000, 3600), (3600, 3600 - 300 - JOB_MARGIN), (60, MIN_SECONDS)]
)
def test_a_capture_ends_before_its_credentials(lasts: int, seconds: int) -> None:
    made = SessionCredentials("a", "b", "c", NOW + timedelta(seconds=lasts))
    given = within(made, ORDER, SETTINGS, NOW)
    assert given.active_deadline_seconds == seconds
    told = shortened(ORDER, given, ROLE)
    assert bool(told) is (seconds < 3600)
    if told:
        assert f"ends after {seconds} s, not 3600 s" in told and ROLE in told


def test_the_seconds_that_it_takes_to_get_them_are_not_worth_a_word() -> None:
    given = ORDER.model_copy(update={"active_deadline_seconds": 3590})
    assert shortened(ORDER, given, ROLE) == ""
