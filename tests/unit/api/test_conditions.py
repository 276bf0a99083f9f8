"""Conditions keep their transition times, and say when nothing changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from forensics_core.api.conditions import (
    MESSAGE_LIMIT,
    Condition,
    ConditionStatus,
    find_condition,
    is_true,
    set_condition,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = START + timedelta(minutes=1)


def captured(*, status: bool | None = True, reason: str = "Found") -> tuple[Condition, ...]:
    return set_condition((), "Captured", status, reason=reason, now=START)


def test_a_new_condition_goes_to_the_end() -> None:
    conditions = set_condition(captured(), "Complete", False, reason="Sealing", now=LATER)
    assert [condition.type for condition in conditions] == ["Captured", "Complete"]
    assert conditions[1].last_transition_time == LATER


def test_nothing_new_gives_the_very_same_conditions() -> None:
    before = captured()
    assert set_condition(before, "Captured", True, reason="Found", now=LATER) is before


def test_another_reason_keeps_the_transition_time() -> None:
    before = captured()
    (after,) = set_condition(before, "Captured", True, reason="Verified", message="m", now=LATER)
    assert (after.reason, after.message) == ("Verified", "m")
    assert after.last_transition_time == START
    assert after.last_probe_time == LATER


def test_another_status_moves_the_transition_time() -> None:
    (after,) = set_condition(captured(status=None), "Captured", True, reason="Found", now=LATER)
    assert after.last_transition_time == LATER


def test_a_new_generation_is_a_change() -> None:
    (after,) = set_condition(
        captured(), "Captured", True, reason="Found", now=LATER, observed_generation=2
    )
    assert after.observed_generation == 2


@pytest.mark.parametrize(
    ("status", "expected"), [(True, "True"), (False, "False"), (None, "Unknown")]
)
def test_truth_has_three_values(status: bool | None, expected: str) -> None:
    conditions = captured(status=status)
    assert conditions[0].status is ConditionStatus(expected)
    assert is_true(conditions, "Captured") is (status is True)


def test_what_is_not_there_is_not_true() -> None:
    assert find_condition(captured(), "Failed") is None
    assert not is_true(captured(), "Failed")


def test_a_message_is_cut_at_the_limit() -> None:
    (condition,) = set_condition(
        (), "Failed", True, reason="X", message="x" * (MESSAGE_LIMIT + 1), now=START
    )
    assert len(condition.message) == MESSAGE_LIMIT
    assert condition.message.endswith("x…")


def test_a_reason_is_one_word() -> None:
    with pytest.raises(ValidationError):
        captured(reason="not one word")


def test_a_time_must_be_aware() -> None:
    with pytest.raises(ValidationError):
        set_condition((), "X", True, reason="Y", now=datetime(2026, 1, 1))
