"""What a rule's status says, and since when a rule is as it is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from forensics_core.api.capturerule import CaptureRule, CaptureRuleStatus
from forensics_core.operator.rules.conditions import RuleState, rule_state
from forensics_core.operator.rules.history import CaptureHistory
from forensics_core.operator.rules.outcomes import HeldBack, HeldReason, Trigger
from forensics_core.operator.rules.registry import (
    RuleTally,
    active_since,
    newer,
    updated,
    utc,
)
from forensics_core.operator.rules.triggers import triggers
from tests.unit.operator.rules.pods import NOW, looping, pod, rule
from tests.unit.operator.samples import settings

NOON = utc(NOW)
WATCHING = RuleState(True, "Watching", "")


def trigger(name: str = "web-0") -> Trigger:
    (found,) = triggers(None, pod(name, looping()), [rule()], CaptureHistory(), NOW)
    assert isinstance(found, Trigger)
    return found


def held(reason: HeldReason = HeldReason.PER_POD) -> HeldBack:
    active = rule()
    event = active.rule.spec.events[0]
    return HeldBack(active, event, "shop", "web-0", reason, "why")


def told(tally: RuleTally, before: CaptureRule | None = None) -> CaptureRule:
    one = before or rule().rule
    status = updated(one, tally, WATCHING, NOON, NOON)
    return one.model_copy(update={"status": status})


def test_a_status_with_nothing_new_is_the_very_same() -> None:
    first = told(RuleTally())
    assert first.status.observed_generation == 1
    assert updated(first, RuleTally(), WATCHING, NOON, NOON + timedelta(hours=1)) is first.status


def test_counts_go_on_and_the_last_are_kept() -> None:
    tally = RuleTally()
    for number in range(30):
        tally.add_capture(trigger(f"web-{number}"), NOON)
        tally.add_held(held(), NOON)
    tally.add_held(held(HeldReason.PER_HOUR), NOON)
    first = told(tally)
    again = RuleTally()
    again.add_capture(trigger("last"), NOON + timedelta(seconds=1))
    status = told(again, first).status
    assert status.captured == 31
    assert len(status.last_captures) == 20
    assert [one.pod for one in status.last_captures[:2]] == ["last", "web-29"]
    assert status.last_triggered == NOON + timedelta(seconds=1)
    assert status.held_back is not None
    assert status.held_back.total == 31
    assert {one.reason: one.count for one in status.held_back.reasons} == {
        "PerPod": 30,
        "PerHour": 1,
    }
    assert len(status.held_back.last) == 5
    assert status.held_back.last[0].reason == "PerHour"
    assert CaptureRuleStatus.model_validate(status.to_dict()) == status


def test_what_could_not_be_written_is_written_later() -> None:
    older, newer_one = RuleTally(), RuleTally()
    older.add_capture(trigger("a"), NOON)
    older.add_held(held(), NOON)
    newer_one.add_capture(trigger("b"), NOON)
    newer_one.put_back(older)
    status = told(newer_one).status
    assert [one.pod for one in status.last_captures] == ["b", "a"]
    assert status.captured == 2
    assert status.held_back is not None
    assert not RuleTally()


@pytest.mark.parametrize(
    ("status", "since"),
    [
        ({}, NOW - 600),
        ({"observedGeneration": 1, "activeSince": utc(NOW - 60)}, NOW - 60),
        ({"observedGeneration": 1}, NOW),
        ({"observedGeneration": 9, "activeSince": utc(NOW - 60)}, NOW),
    ],
)
def test_a_rule_is_as_it_is_since_it_was_made_or_changed(
    status: dict[str, Any], since: float
) -> None:
    told = rule().rule.model_dump(mode="json", by_alias=True, exclude_none=True)
    one = CaptureRule.parse(told | {"status": status})
    assert active_since(one, NOON).timestamp() == since


@pytest.mark.parametrize(
    ("spec", "missing", "reason"),
    [
        ({}, "", "Watching"),
        ({"dryRun": True}, "", "DryRun"),
        ({}, "Forbidden", "OverlayMissing"),
        ({"template": {"destination": "s3://cases/x"}}, "", "Watching"),
        ({"template": {"destination": "s3://other"}}, "", "DestinationNotAllowed"),
        ({"events": ["Alert"]}, "", "AlertsOff"),
        ({"events": ["Alert", "Failed"]}, "", "Watching"),
    ],
)
def test_why_a_rule_is_not_acted_on(spec: dict[str, Any], missing: str, reason: str) -> None:
    events = spec.pop("events", ["CrashLoop"])
    state = rule_state(rule("dying", *events, **spec).rule, settings(), missing)
    assert state.reason == reason
    assert state.active is (reason in {"Watching", "DryRun"})


def test_of_two_versions_the_later_counts_and_opaque_ones_say_nothing() -> None:
    def version(text: str) -> CaptureRule:
        one = rule().rule
        metadata = one.metadata.model_copy(update={"resource_version": text})
        return one.model_copy(update={"metadata": metadata})

    assert newer(version("2"), version("1")) == version("2")
    assert newer(version("1"), version("2")) == version("2")
    assert newer(version("x"), version("1")) == version("1")
