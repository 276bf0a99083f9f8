"""The rules there are: which are acted on, since when, and what their statuses do not say yet."""

from __future__ import annotations

import logging
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
)
from forensics_core.api.conditions import whole_seconds
from forensics_core.errors import ClusterError, Conflict, NotFound
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.objects import Objects
from forensics_core.kube.resources import CAPTURE_RULES
from forensics_core.operator.rules.conditions import (
    RuleState,
    conditions_of,
    hold_state,
    rule_state,
)
from forensics_core.operator.rules.history import rule_id
from forensics_core.operator.rules.outcomes import ActiveRule, HeldBack, Trigger
from forensics_core.operator.settings import Settings

log = logging.getLogger(__name__)

MANAGER = "forensics-operator"
"""The name that the operator's writes bear in `managedFields`."""
_INT32_MAX = 2**31 - 1


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
    state: RuleState,
    since: datetime,
    now: datetime,
    hold: RuleState | None = None,
) -> CaptureRuleStatus:
    """Return the rule's status with all that a tally has; the very same where nothing is new."""
    status = rule.status
    conditions = conditions_of(rule, state, hold, now)
    same = conditions is status.conditions and whole_seconds(since) == status.active_since
    if same and not tally and status.observed_generation == rule.metadata.generation:
        return status
    captures = (*tally.captures, *status.last_captures)[:LAST_CAPTURES]
    return status.model_copy(
        update={
            "conditions": conditions,
            "observed_generation": rule.metadata.generation,
            "active_since": whole_seconds(since),
            "captured": min(status.captured + tally.captured, _INT32_MAX),
            "last_captures": captures,
            "last_triggered": captures[0].time if captures else None,
            "held_back": _held_back(status.held_back or HeldBackStatus(), tally),
        }
    )


def _held_back(before: HeldBackStatus, tally: RuleTally) -> HeldBackStatus | None:
    counts = Counter({one.reason: one.count for one in before.reasons}) + tally.reasons
    if not counts:
        return None
    return HeldBackStatus(
        total=min(before.total + tally.reasons.total(), _INT32_MAX),
        reasons=tuple(
            ReasonCount(reason=reason, count=min(count, _INT32_MAX))
            for reason, count in sorted(counts.items())
        )[:16],
        last=(*tally.held, *before.last)[:LAST],
    )


def utc(seconds: float) -> datetime:
    """Return seconds since 1970 as a time."""
    return datetime.fromtimestamp(seconds, UTC)


@dataclass(slots=True)
class _Entry:
    rule: CaptureRule
    since: datetime
    state: RuleState
    tally: RuleTally = field(default_factory=RuleTally)


class RuleRegistry:
    """The rules of all namespaces that the operator acts on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._entries: dict[str, _Entry] = {}
        self._missing = ""
        self._hold_missing: str | None = None
        self._dirty: set[str] = set()
        self.active: tuple[ActiveRule, ...] = ()
        """Those that are acted on, in the order of their names."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def dirty(self) -> bool:
        """Whether a status has something to say."""
        return bool(self._dirty)

    def put(self, rule: CaptureRule, now: datetime) -> ActiveRule | None:
        """Take a rule as it is now; return it if there is reason to look at all pods for it."""
        key = rule_id(rule.metadata.namespace, rule.metadata.name)
        known = self._entries.get(key)
        state = rule_state(rule, self._settings, self._missing)
        same = (
            known is not None
            and known.rule.metadata.uid == rule.metadata.uid
            and known.rule.metadata.generation == rule.metadata.generation
        )
        if known is not None and same:
            known.rule = newer(known.rule, rule)
            self._dirty.add(key)
            return None
        self._entries[key] = _Entry(rule, active_since(rule, now), state)
        self._dirty.add(key)
        self._sort()
        return self._active(key)

    def drop(self, key: str) -> None:
        """Forget a rule; captures that it asked for go on."""
        self._entries.pop(key, None)
        self._dirty.discard(key)
        self._sort()

    def pods_missing(self, why: str) -> None:
        """Note why pods cannot be watched; empty: they can."""
        if why == self._missing:
            return
        self._missing = why
        for key, entry in self._entries.items():
            entry.state = rule_state(entry.rule, self._settings, why)
            self._dirty.add(key)
        self._sort()

    def hold_missing(self, why: str) -> None:
        """Note why pods cannot be held; empty: they can."""
        if why != self._hold_missing:
            self._hold_missing = why
            self._dirty.update(self._entries)

    def tally(self, key: str) -> RuleTally:
        """Return where to count what a rule did; that of one that is gone counts for nobody."""
        entry = self._entries.get(key)
        if entry is None:
            return RuleTally()
        self._dirty.add(key)
        return entry.tally

    async def write(self, cluster: ClusterConnection, now: datetime) -> None:
        """Write every status that has something new to say; what fails is written next time."""
        for key in sorted(self._dirty):
            entry = self._entries.get(key)
            self._dirty.discard(key)
            if entry is not None:
                await self._write(cluster, key, entry, now)

    async def _write(
        self, cluster: ClusterConnection, key: str, entry: _Entry, now: datetime
    ) -> None:
        rule, tally = entry.rule, entry.tally
        hold = hold_state(rule, entry.state, self._hold_missing)
        status = updated(rule, tally, entry.state, entry.since, now, hold)
        if status is rule.status:
            return
        entry.tally = RuleTally()
        metadata = rule.metadata
        body = {
            "metadata": {
                "name": metadata.name,
                "namespace": metadata.namespace,
                "uid": metadata.uid,
                "resourceVersion": metadata.resource_version,
            },
            "status": status.to_dict(),
        }
        objects = Objects(cluster, CAPTURE_RULES)
        try:
            written = await objects.apply(body, manager=MANAGER, subresource="status")
        except ClusterError as error:
            entry.tally.put_back(tally)
            self._dirty.add(key)
            if not isinstance(error, (Conflict, NotFound)):
                log.warning("The status of the rule %s is written again after: %s", key, error)
            return
        self._learn(key, entry, CaptureRule.parse(written))

    def _learn(self, key: str, entry: _Entry, written: CaptureRule) -> None:
        """Take our own write, unless the watch has told of more than that by now."""
        if self._entries.get(key) is entry and entry.rule.metadata.uid == written.metadata.uid:
            entry.rule = newer(entry.rule, written)

    def _active(self, key: str) -> ActiveRule | None:
        return next((rule for rule in self.active if rule.id == key), None)

    def _sort(self) -> None:
        self.active = tuple(
            ActiveRule(entry.rule, entry.since.timestamp())
            for _, entry in sorted(self._entries.items())
            if entry.state.active
        )


def newer(one: CaptureRule, other: CaptureRule) -> CaptureRule:
    """Return the one with the later version; versions that are no numbers say nothing."""
    try:
        versions = [int(each.metadata.resource_version or 0) for each in (one, other)]
    except ValueError:
        return other
    return one if versions[0] > versions[1] else other
