"""What a rule did since its status was last written, and the status that says so. Pure.

Many things may happen within a second; the status is written once, with all of them.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime

from forensics_core.api.capturerule import (
    LAST,
    LAST_CAPTURES,
    CaptureRecord,
    CaptureRule,
    CaptureRuleStatus,
    HeldBackRecord,
    HeldBackStatus,
    ReasonCount,
    TriggerEvent,
)
from forensics_core.api.conditions import Condition, set_condition, whole_seconds
from forensics_core.operator.rules.triggers import HeldBack, Trigger
from forensics_core.operator.settings import Settings

ACTIVE, HOLDING = "Active", "Holding"
"""The conditions' types."""
RULES_OVERLAY = "kubectl apply -k deploy/overlays/rules"
HOLD_OVERLAY = "kubectl apply -k deploy/overlays/hold"
_MOST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class RuleStanding:
    """Whether a rule is acted on, and why not."""

    active: bool
    reason: str
    message: str


def standing(rule: CaptureRule, settings: Settings, missing: str = "") -> RuleStanding:
    """Return whether a rule can be acted on; `missing` says why pods cannot be watched."""
    if missing:
        message = f"The operator may not watch pods: {RULES_OVERLAY}. {missing}"
        return RuleStanding(False, "OverlayMissing", message)
    destination = str(rule.spec.template.get("destination") or settings.default_destination or "")
    if not destination:
        message = "template.destination is missing, and the operator has no default"
        return RuleStanding(False, "NoDestination", message)
    if settings.rule_for(destination) is None:
        message = f"{destination} is none of the operator's destinations"
        return RuleStanding(False, "DestinationNotAllowed", message)
    if set(rule.spec.events) == {TriggerEvent.ALERT} and settings.alerts is None:
        message = "The operator takes no alerts: see docs/falco.md, and deploy/overlays/alerts"
        return RuleStanding(False, "AlertsOff", message)
    if rule.spec.dry_run:
        return RuleStanding(True, "DryRun", "It only tells what it would capture")
    return RuleStanding(True, "Watching", "Pods that it matches are captured")


def holding(rule: CaptureRule, active: RuleStanding, missing: str | None) -> RuleStanding | None:
    """Return whether a rule holds pods; None if it is not to, or while nobody knows yet.

    `missing` says which rights are missing; empty: none; None: not asked yet.
    """
    if not rule.spec.hold:
        return None
    if not active.active or rule.spec.dry_run:
        return RuleStanding(False, active.reason, "The rule captures nothing, so it holds nothing")
    if missing is None:
        return None
    if missing:
        message = f"The operator may not hold pods: {HOLD_OVERLAY}. {missing}"
        return RuleStanding(False, "OverlayMissing", message)
    return RuleStanding(True, "Holding", "Pods that it matches wait for their capture")


def active_since(rule: CaptureRule, now: datetime) -> datetime:
    """Return since when a rule is as it is: from its creation on, or since it was changed."""
    status, metadata = rule.status, rule.metadata
    if status.observed_generation == metadata.generation and status.active_since:
        return status.active_since
    return now if status.observed_generation else metadata.creation_timestamp or now


@dataclass(slots=True)
class RuleTally:
    """What is not in a rule's status yet."""

    captures: deque[CaptureRecord] = field(default_factory=lambda: deque(maxlen=LAST_CAPTURES))
    captured: int = 0
    held: deque[HeldBackRecord] = field(default_factory=lambda: deque(maxlen=LAST))
    reasons: Counter[str] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        return bool(self.captured or self.reasons)

    def put_back(self, older: RuleTally) -> None:
        """Add what could not be written."""
        self.captured += older.captured
        self.reasons += older.reasons
        self.captures.extend(older.captures)
        self.held.extend(older.held)

    def add_capture(self, trigger: Trigger, now: datetime) -> None:
        """Count a capture."""
        self.captured += 1
        self.captures.appendleft(
            CaptureRecord(
                time=now,
                event=trigger.happening.event,
                namespace=trigger.pod.namespace,
                pod=trigger.pod.name,
                pod_uid=trigger.pod.uid,
                checkpoint=trigger.name,
                dry_run=trigger.rule.rule.spec.dry_run,
            )
        )

    def add_held(self, held: HeldBack, now: datetime) -> None:
        """Count something that was held back."""
        self.reasons[held.reason] += 1
        self.held.appendleft(
            HeldBackRecord(
                time=now,
                event=held.event,
                namespace=held.namespace,
                pod=held.pod,
                reason=held.reason,
                message=held.message,
            )
        )


def updated(
    rule: CaptureRule,
    tally: RuleTally,
    stands: RuleStanding,
    since: datetime,
    now: datetime,
    hold: RuleStanding | None = None,
) -> CaptureRuleStatus:
    """Return the rule's status with all that a tally has; the very same where nothing is new."""
    status = rule.status
    conditions = _conditions(rule, stands, hold, now)
    same = conditions is status.conditions and whole_seconds(since) == status.active_since
    if same and not tally and status.observed_generation == rule.metadata.generation:
        return status
    captures = (*tally.captures, *status.last_captures)[:LAST_CAPTURES]
    return status.model_copy(
        update={
            "conditions": conditions,
            "observed_generation": rule.metadata.generation,
            "active_since": whole_seconds(since),
            "captured": min(status.captured + tally.captured, _MOST),
            "last_captures": captures,
            "last_triggered": captures[0].time if captures else None,
            "held_back": _held_back(status.held_back or HeldBackStatus(), tally),
        }
    )


def _conditions(
    rule: CaptureRule, stands: RuleStanding, hold: RuleStanding | None, now: datetime
) -> tuple[Condition, ...]:
    conditions = rule.status.conditions
    if not rule.spec.hold and any(one.type == HOLDING for one in conditions):
        conditions = tuple(one for one in conditions if one.type != HOLDING)
    for kind, one in ((ACTIVE, stands), (HOLDING, hold)):
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


def _held_back(before: HeldBackStatus, tally: RuleTally) -> HeldBackStatus | None:
    counts = Counter({one.reason: one.count for one in before.reasons}) + tally.reasons
    if not counts:
        return None
    return HeldBackStatus(
        total=min(before.total + tally.reasons.total(), _MOST),
        reasons=tuple(
            ReasonCount(reason=reason, count=min(count, _MOST))
            for reason, count in sorted(counts.items())
        )[:16],
        last=(*tally.held, *before.last)[:LAST],
    )


def utc(seconds: float) -> datetime:
    """Return seconds since 1970 as a time."""
    return datetime.fromtimestamp(seconds, UTC)
