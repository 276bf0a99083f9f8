"""Whether a rule is acted on, and whether it holds pods: its conditions. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from forensics_core.api.capturerule import CaptureRule, TriggerEvent
from forensics_core.api.conditions import Condition, set_condition
from forensics_core.operator.settings import Settings

ACTIVE, HOLDING = "Active", "Holding"
"""The conditions' types."""
RULES_OVERLAY = "kubectl apply -k deploy/overlays/rules"
HOLD_OVERLAY = "kubectl apply -k deploy/overlays/hold"


@dataclass(frozen=True, slots=True)
class RuleState:
    """Whether a rule is acted on, and why not."""

    active: bool
    reason: str
    message: str


def rule_state(rule: CaptureRule, settings: Settings, missing: str = "") -> RuleState:
    """Return whether a rule can be acted on; `missing` says why pods cannot be watched."""
    if missing:
        message = f"The operator may not watch pods: {RULES_OVERLAY}. {missing}"
        return RuleState(False, "OverlayMissing", message)
    destination = str(rule.spec.template.get("destination") or settings.default_destination or "")
    if not destination:
        message = "template.destination is missing, and the operator has no default"
        return RuleState(False, "NoDestination", message)
    if settings.rule_for(destination) is None:
        message = f"{destination} is none of the operator's destinations"
        return RuleState(False, "DestinationNotAllowed", message)
    if set(rule.spec.events) == {TriggerEvent.ALERT} and settings.alerts is None:
        message = "The operator takes no alerts: see docs/falco.md, and deploy/overlays/alerts"
        return RuleState(False, "AlertsOff", message)
    if rule.spec.dry_run:
        return RuleState(True, "DryRun", "It only tells what it would capture")
    return RuleState(True, "Watching", "Pods that it matches are captured")


def hold_state(rule: CaptureRule, active: RuleState, missing: str | None) -> RuleState | None:
    """Return whether a rule holds pods; None if it is not to, or while nobody knows yet.

    `missing` says which rights are missing; empty: none; None: not asked yet.
    """
    if not rule.spec.hold:
        return None
    if not active.active or rule.spec.dry_run:
        return RuleState(False, active.reason, "The rule captures nothing, so it holds nothing")
    if missing is None:
        return None
    if missing:
        message = f"The operator may not hold pods: {HOLD_OVERLAY}. {missing}"
        return RuleState(False, "OverlayMissing", message)
    return RuleState(True, "Holding", "Pods that it matches wait for their capture")


def conditions_of(
    rule: CaptureRule, state: RuleState, hold: RuleState | None, now: datetime
) -> tuple[Condition, ...]:
    """Return the rule's conditions; the very same where nothing is new."""
    conditions = rule.status.conditions
    if not rule.spec.hold and any(one.type == HOLDING for one in conditions):
        conditions = tuple(one for one in conditions if one.type != HOLDING)
    for kind, one in ((ACTIVE, state), (HOLDING, hold)):
        if one is not None:
            conditions = set_condition(
                conditions,
                kind,
                one.active,
                reason=one.reason,
                message=one.message,
                now=now,
                observed_generation=rule.metadata.generation,
            )
    return conditions
