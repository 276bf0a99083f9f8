"""For how long a pod is held, as its own metadata say."""

from __future__ import annotations

from typing import Any

import pytest

from forensics_core.api.names import HOLD_FINALIZER, HOLD_LABEL
from forensics_core.kube.holds import MAX_SECONDS, held_until, is_held, seconds_of

DELETED = {"deletionTimestamp": "2026-01-01T00:01:00Z", "deletionGracePeriodSeconds": 60}
ASKED = 1767225600.0
"""2026-01-01T00:00:00Z"""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 1),
        ("600", 600),
        ("601", MAX_SECONDS),
        ("1000", MAX_SECONDS),
        ("-1", MAX_SECONDS),
        ("", MAX_SECONDS),
        ("²", MAX_SECONDS),
        ("soon", MAX_SECONDS),
    ],
)
def test_a_label_never_holds_for_longer_than_a_rule_may(text: str, seconds: int) -> None:
    assert seconds_of({HOLD_LABEL: text}) == seconds


def test_a_pod_without_the_label_may_be_held_for_the_longest_time() -> None:
    assert seconds_of(None) == seconds_of({}) == MAX_SECONDS


@pytest.mark.parametrize(
    "metadata", [{}, {"finalizers": None}, {"finalizers": ["example.com/other"]}]
)
def test_what_bears_no_finalizer_of_ours_is_not_held(metadata: dict[str, Any]) -> None:
    assert not is_held(metadata)
    assert held_until(metadata | DELETED) is None


def test_the_time_runs_from_when_the_deletion_was_asked_for() -> None:
    held = {"finalizers": ["example.com/other", HOLD_FINALIZER], "labels": {HOLD_LABEL: "10"}}
    assert is_held(held)
    assert held_until(held) is None
    assert held_until(held | DELETED) == ASKED + 10
    assert held_until(held | {"deletionTimestamp": "2026-01-01T00:00:00Z"}) == ASKED + 10
