"""The rules there are: which are acted on, since when, and what their statuses do not say yet."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime

from forensics_core.api.capturerule import CaptureRule
from forensics_core.errors import ClusterError, Conflict, NotFound
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.objects import Objects
from forensics_core.kube.resources import CAPTURE_RULES
from forensics_core.operator.rules.memory import rule_id
from forensics_core.operator.rules.tally import (
    RuleStanding,
    RuleTally,
    active_since,
    holding,
    standing,
    updated,
)
from forensics_core.operator.rules.triggers import ActiveRule
from forensics_core.operator.settings import Settings

log = logging.getLogger(__name__)

MANAGER = "forensics-operator"
"""The name that the operator's writes bear in `managedFields`."""


@dataclass(slots=True)
class _Entry:
    rule: CaptureRule
    since: datetime
    stands: RuleStanding
    tally: RuleTally = field(default_factory=RuleTally)


class Rulebook:
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
        stands = standing(rule, self._settings, self._missing)
        same = (
            known is not None
            and known.rule.metadata.uid == rule.metadata.uid
            and known.rule.metadata.generation == rule.metadata.generation
        )
        if known is not None and same:
            known.rule = newer(known.rule, rule)
            self._dirty.add(key)
            return None
        self._entries[key] = _Entry(rule, active_since(rule, now), stands)
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
            entry.stands = standing(entry.rule, self._settings, why)
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
        hold = holding(rule, entry.stands, self._hold_missing)
        status = updated(rule, tally, entry.stands, entry.since, now, hold)
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
            if entry.stands.active
        )


def newer(one: CaptureRule, other: CaptureRule) -> CaptureRule:
    """Return the one with the later version; versions that are no numbers say nothing."""
    try:
        versions = [int(each.metadata.resource_version or 0) for each in (one, other)]
    except ValueError:
        return other
    return one if versions[0] > versions[1] else other
