"""The rules at work: one watch of them, one of all pods while there are any, and what follows.

Nothing is kept of a pod but the few facts that rules need. Where there is no rule, no pod is
watched; where the rights to do so are missing, every rule's status says which overlay has them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import anyio

from forensics_core._internal.tasks import task_group
from forensics_core._internal.text import printable
from forensics_core.api.capturerule import CaptureRule, CaptureRuleSpec
from forensics_core.errors import ClusterError, UsageError
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.events import EventRecorder
from forensics_core.kube.listwatch import EventType, WatchEvent, listwatch
from forensics_core.kube.objects import Object
from forensics_core.kube.resources import CAPTURE_RULES, PODS, Resource
from forensics_core.operator.containment.policy import as_it_was
from forensics_core.operator.rules.captures import CaptureRequests
from forensics_core.operator.rules.facts import Alert, facts_of, slim_known
from forensics_core.operator.rules.history import CaptureHistory, rule_id
from forensics_core.operator.rules.hold import wants_hold
from forensics_core.operator.rules.outcomes import ActiveRule, HeldBack, HeldReason, Trigger
from forensics_core.operator.rules.pod_holds import PodHolds
from forensics_core.operator.rules.pods import KnownPods
from forensics_core.operator.rules.registry import RuleRegistry, utc
from forensics_core.operator.rules.triggers import (
    alert_held,
    at_first_look,
    of_alert,
    refused,
    triggers,
    vanished,
)
from forensics_core.operator.settings import Settings
from forensics_core.operator.shared.metrics import Metrics

log = logging.getLogger(__name__)

REQUESTERS = 4
"""Captures that are asked for at once."""


class RuleController:
    """Acts on the CaptureRules of the namespaces that the settings name."""

    def __init__(
        self,
        cluster: ClusterConnection,
        settings: Settings,
        events: EventRecorder,
        metrics: Metrics,
        history: CaptureHistory,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._events = events
        self._metrics = metrics
        self._history = history
        self._rules = RuleRegistry(settings)
        self._pods = KnownPods()
        self._watching: anyio.CancelScope | None = None
        self._pods_synced = False
        self._pods_asked = anyio.Event()
        self._unsynced = set(settings.namespaces)
        self._all_rules = anyio.Event()
        self._some_rule = anyio.Event()
        self._news = anyio.Event()
        self._held_for: tuple[CaptureRuleSpec, ...] = ()
        self._some_hold = anyio.Event()
        pause = settings.timings.overlay.total_seconds()
        self._holds = PodHolds(cluster, self._pods, lambda: self._held_for, history.awaits, pause)
        history.heard = self._holds.heard
        self._captures = CaptureRequests(cluster, self._made, self._refused)

    @property
    def ready(self) -> bool:
        """Whether it is known which pods there are, or nobody wants to know."""
        return self._pods_synced or not self._rules.active

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with task_group() as tasks:
                for namespace in self._settings.namespaces:
                    tasks.start_soon(self._watch_rules, namespace)
                tasks.start_soon(self._watch_pods)
                tasks.start_soon(self._write_statuses)
                tasks.start_soon(self._holds.run)
                tasks.start_soon(self._ask_hold_rights)
                tasks.start_soon(self._free_left_behind)
                await self._some_rule.wait()
                for _ in range(REQUESTERS):
                    tasks.start_soon(self._captures.work)
        finally:
            self._captures.close()

    def alert(self, alert: Alert, *, last: bool = False) -> bool:
        """Act on an alert; return whether its pod is known, and where it matters its container."""
        pod = self._pods.of_alert(alert)
        if pod is None:
            return False
        found = of_alert(alert, pod, self._rules.active, self._history, self._cluster.now())
        if not last and any(isinstance(one, Trigger) and one.spares for one in found):
            # The container may have begun a moment ago.
            return False
        self._apply(found)
        return True

    def alert_held(self, alert: Alert, reason: HeldReason, message: str) -> None:
        """Tell the rules that an alert would have concerned why they do not act on it."""
        self._apply(alert_held(alert, self._rules.active, reason, message))

    # The rules

    async def _watch_rules(self, namespace: str) -> None:
        pause = 5 * self._settings.timings.overlay.total_seconds()
        while True:
            try:
                async with listwatch(self._cluster, CAPTURE_RULES, namespace=namespace) as events:
                    async for event in events:
                        self._on_rule(event, namespace)
            except ClusterError as error:
                # No such kind, or no right to it: an older deploy/, which works without rules.
                log.info("Capture rules are not acted on: %s", error)
                self._synced(namespace)
            await anyio.sleep(pause)

    def _on_rule(self, event: WatchEvent, namespace: str) -> None:
        if event.type is EventType.SYNCED:
            self._synced(namespace)
            return
        metadata = event.object["metadata"]
        if event.type is EventType.DELETED:
            self._rules.drop(rule_id(metadata["namespace"], metadata["name"]))
            self._hold_for_rules()
            self._stop_without_rules()
            return
        try:
            rule = CaptureRule.parse(event.object)
        except UsageError as error:
            log.error("%s: %s", metadata["name"], error)
            self._rules.drop(rule_id(metadata["namespace"], metadata["name"]))
            self._record(CAPTURE_RULES, metadata, "Invalid", str(error), warning=True)
            self._hold_for_rules()
            return
        self._history.recall(rule)
        active = self._rules.put(rule, utc(self._cluster.now()))
        self._news.set()
        self._begin()
        if active is not None:
            self._look_at_all([active])
        self._hold_for_rules()

    def _synced(self, namespace: str) -> None:
        self._unsynced.discard(namespace)
        if not self._unsynced:
            self._all_rules.set()
        self._begin()

    def _begin(self) -> None:
        if len(self._rules) and not self._unsynced:
            self._some_rule.set()

    def _stop_without_rules(self) -> None:
        if not len(self._rules) and self._some_rule.is_set() and not self._holds.some:
            self._some_rule = anyio.Event()
            if self._watching is not None:
                self._watching.cancel()

    def _hold_for_rules(self) -> None:
        """Have pods held and freed for the rules as they are now."""
        specs = tuple(one.rule.spec for one in self._rules.active if wants_hold(one.rule.spec))
        if specs == self._held_for:
            return
        self._held_for = specs
        if specs:
            self._some_hold.set()
        else:
            self._some_hold = anyio.Event()
        self._holds.look(list(self._pods.values()))

    async def _ask_hold_rights(self) -> None:
        pause = self._settings.timings.overlay.total_seconds()
        while True:
            await self._some_hold.wait()
            missing = await self._holds.missing()
            self._rules.hold_missing(missing)
            self._news.set()
            if missing:
                await anyio.sleep(pause)
            else:
                await self._holds.refused()

    async def _free_left_behind(self) -> None:
        """Free the pods that were held for rules which went while no operator was there."""
        await self._all_rules.wait()
        if not len(self._rules) and await self._holds.left_behind():
            self._some_rule.set()

    def _look_at_all(self, rules: Sequence[ActiveRule]) -> None:
        """Look at the pods that were there before a rule was, or was as it is."""
        now = self._cluster.now()
        for pod in self._pods.values():
            self._apply(at_first_look(pod, rules, self._history, now))

    # The pods

    async def _watch_pods(self) -> None:
        while True:
            await self._some_rule.wait()
            with anyio.CancelScope() as self._watching:
                try:
                    async with listwatch(self._cluster, PODS, remember=slim_known) as events:
                        async for event in events:
                            self._on_pod(event)
                except ClusterError as error:
                    self._pods_missing(str(error))
                    await anyio.sleep(self._settings.timings.overlay.total_seconds())
            self._pods.clear()
            self._holds.forget()
            self._pods_synced = False

    def _pods_missing(self, why: str) -> None:
        self._pods_asked.set()
        before = self._rules.active
        self._rules.pods_missing(why)
        self._news.set()
        fresh = [rule for rule in self._rules.active if rule not in before]
        self._look_at_all(fresh)
        self._hold_for_rules()

    def _on_pod(self, event: WatchEvent) -> None:
        if event.type is EventType.SYNCED:
            self._pods_synced = True
            self._pods_missing("")
            self._stop_without_rules()
            return
        metadata = event.object["metadata"]
        key = metadata["namespace"], metadata["name"]
        before = self._pods.get(key)
        if event.type is EventType.DELETED:
            self._pods.pop(key, None)
            if before is not None:
                self._holds.gone(before)
                self._stop_without_rules()
                self._apply(vanished(before, self._rules.active, self._history))
            return
        after = facts_of(as_it_was(event.object))
        known = before if before is not None and before.uid == after.uid else None
        if known is not None:
            after = known.and_now(after)
        if after == before:
            return
        self._pods[key] = after
        self._apply(triggers(known, after, self._rules.active, self._history, self._cluster.now()))
        # Only now is it known whether a capture is to be waited for.
        self._holds.look([after])
        self._stop_without_rules()

    # What follows

    def _apply(self, found: Iterable[Trigger | HeldBack]) -> None:
        for one in found:
            if isinstance(one, HeldBack):
                self._hold_back(one)
                continue
            self._history.note(one.as_captured(self._cluster.now()))
            if one.rule.rule.spec.dry_run:
                self._made(one)
            else:
                self._captures.add(one)

    def _made(self, trigger: Trigger) -> None:
        """Count a capture that was asked for, or in a dry run would have been, and tell of it."""
        rule, pod, dry = trigger.rule, trigger.pod, trigger.rule.rule.spec.dry_run
        self._rules.tally(rule.id).add_capture(trigger, utc(self._cluster.now()))
        self._count(rule, trigger.happening.event, "DryRun" if dry else "Captured")
        where = f"{pod.namespace}/{pod.name}"
        reason = "WouldCapture" if dry else "Captured"
        done = f"would be captured as {trigger.name}" if dry else f"is captured: {trigger.name}"
        self._event(rule, reason, f"{where} {done}. {trigger.reason}")
        about = {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid}
        self._record(PODS, about, reason, f"It {done}. {trigger.reason}")

    def _refused(self, trigger: Trigger, message: str) -> None:
        self._history.withdraw(trigger.name)
        log.warning("The rule %s cannot capture: %s", trigger.rule.id, message)
        self._hold_back(refused(trigger, message))

    def _hold_back(self, held: HeldBack) -> None:
        self._rules.tally(held.rule.id).add_held(held, utc(self._cluster.now()))
        self._count(held.rule, held.event, held.reason)
        # Without the pod's name: what is held back may be a flood, and equal events are one series.
        self._event(held.rule, "HeldBack", f"{held.event}: {held.reason}: {held.message}")

    def _count(self, rule: ActiveRule, event: str, outcome: str) -> None:
        self._metrics.triggers.labels(rule=rule.name, event=str(event), outcome=str(outcome)).inc()
        self._news.set()

    def _event(self, rule: ActiveRule, reason: str, note: str) -> None:
        metadata = rule.rule.metadata
        about = {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid}
        self._record(CAPTURE_RULES, about, reason, note, warning=reason == "HeldBack")

    def _record(
        self, resource: Resource, about: Object, reason: str, note: str, *, warning: bool = False
    ) -> None:
        subject = {"apiVersion": resource.api_version, "kind": resource.kind}
        subject |= {key: about.get(key) or "" for key in ("name", "namespace", "uid")}
        self._events.record(
            subject,
            reason=reason,
            action="Capture",
            note=printable(note),
            kind="Warning" if warning else "Normal",
        )

    async def _write_statuses(self) -> None:
        pause = self._settings.timings.rule_status.total_seconds()
        # Until then nobody knows whether a rule can be acted on at all. An outage silences none.
        with anyio.move_on_after(self._settings.timings.overlay.total_seconds()):
            await self._pods_asked.wait()
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            await self._rules.write(self._cluster, utc(self._cluster.now()))
            if self._rules.dirty:
                self._news.set()
            await anyio.sleep(pause)
