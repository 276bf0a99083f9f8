"""What a rule's conditions say of holding pods."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from forensics_core.operator.rules.conditions import RuleState, conditions_of, hold_state
from tests.unit.operator.rules.pods import rule

ACTIVE = RuleState(True, "Watching", "")
AWAY = RuleState(False, "NoDestination", "")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("spec", "active", "missing", "said"),
    [
        ({}, ACTIVE, "", None),
        ({"hold": True}, ACTIVE, None, None),
        ({"hold": True}, ACTIVE, "", (True, "Holding")),
        ({"hold": True}, ACTIVE, "It may not", (False, "OverlayMissing")),
        ({"hold": True}, AWAY, "", (False, "NoDestination")),
        ({"hold": True, "dryRun": True}, RuleState(True, "DryRun", ""), "", (False, "DryRun")),
    ],
)
def test_a_rule_says_whether_it_holds(
    spec: dict[str, Any],
    active: RuleState,
    missing: str | None,
    said: tuple[bool, str] | None,
) -> None:
    found = hold_state(rule("hold", "Deleted", **spec).rule, active, missing)
    assert (found and (found.active, found.reason)) == said


def test_a_rule_that_holds_no_more_says_nothing_of_it() -> None:
    before = rule("hold", "Deleted", hold=True).rule
    held = RuleState(True, "Holding", "")
    conditions = conditions_of(before, ACTIVE, held, NOW)
    assert [one.type for one in conditions] == ["Active", "Holding"]
    status = before.status.model_copy(update={"conditions": conditions})
    same = before.model_copy(update={"status": status})
    assert conditions_of(same, ACTIVE, held, NOW) is conditions
    spec = before.spec.model_copy(update={"hold": False})
    after = same.model_copy(update={"spec": spec})
    assert [one.type for one in conditions_of(after, ACTIVE, None, NOW)] == ["Active"]
