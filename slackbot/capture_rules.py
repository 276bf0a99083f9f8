"""What CaptureRules did without anybody: told in the channels where they are at home.

A capture that a rule made has a message of its own, as every other. Here is the rest: what a rule
held back, and what it would have captured in a dry run. All of it that comes within `ruleSeconds`
is one message, so a flood of alerts is a line with a number.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import anyio

from forensics_core._internal.backoff import Backoff
from forensics_core.api.capturerule import CaptureRule, CaptureRuleStatus
from forensics_core.errors import ClusterError, UsageError
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.listwatch import EventType, WatchEvent, listwatch
from forensics_core.kube.resources import CAPTURE_RULES
from slackbot.blocks.capture_rules import RuleChanges, rules_message
from slackbot.errors import SlackError
from slackbot.report_context import ReportContext
from slackbot.settings import Settings
from slackbot.slack import LATE

log = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 60.0
"""Seconds until the rules are looked for again where there are none: CRD or rights may come."""


@dataclass
class _KnownRule:
    told: CaptureRuleStatus
    """Up to where it was told."""
    rule: CaptureRule


@dataclass
class RuleReporter:
    """Watches the rules until cancelled; without the kind, or the right to, it waits for both."""

    cluster: ClusterConnection
    context: ReportContext
    settings: Settings
    _rules: dict[str, _KnownRule] = field(default_factory=dict)
    """By UID."""
    _changed: anyio.Event = field(default_factory=anyio.Event)

    async def run(self) -> None:
        """Watch and tell."""
        if not any(channel.rules for channel in self.settings.channels):
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch)
            tasks.start_soon(self._post_changes)

    async def _watch(self) -> None:
        while True:
            try:
                await self._follow()
            except ClusterError as error:
                log.warning("CaptureRules are not reported: %s", error)
            await anyio.sleep(LOOK_AGAIN_SECONDS)

    async def _follow(self) -> None:
        where = self.settings.namespace
        synced = False
        async with (
            listwatch(self.cluster, CAPTURE_RULES, namespace=where) as events,
        ):
            async for event in events:
                synced = synced or event.type is EventType.SYNCED
                self._take(event, synced=synced)

    def _take(self, event: WatchEvent, *, synced: bool) -> None:
        if event.type is EventType.SYNCED:
            return
        uid = event.object["metadata"]["uid"]
        if event.type is EventType.DELETED:
            self._rules.pop(uid, None)
            return
        try:
            rule = CaptureRule.parse(event.object)
        except UsageError as error:
            log.error("%s: %s", event.object["metadata"]["name"], error)
            return
        # What a rule did before the bot began is history; all of a new one is news.
        told = CaptureRuleStatus() if synced else rule.status
        self._rules.setdefault(uid, _KnownRule(told, rule)).rule = rule
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def _post_changes(self) -> None:
        backoff = Backoff(1.0, LOOK_AGAIN_SECONDS)
        while True:
            changed = self._changed
            news = self._news()
            if not news:
                await changed.wait()
                continue
            try:
                for channel, several in news.items():
                    await self._post(channel, several)
                backoff = Backoff(1.0, LOOK_AGAIN_SECONDS)
            except (SlackError, ClusterError) as error:
                log.warning("What rules held back is not told yet: %s", error)
                await anyio.sleep(backoff.next())
            else:
                # What comes by then goes into one message.
                await anyio.sleep(self.settings.rule_seconds)

    def _news(self) -> dict[str, list[tuple[_KnownRule, RuleChanges]]]:
        found: dict[str, list[tuple[_KnownRule, RuleChanges]]] = {}
        for known in self._rules.values():
            channel = self.settings.channel_for_rule(known.rule.metadata.name)
            news = RuleChanges.between(known.rule, known.told)
            if channel and news:
                found.setdefault(channel.id, []).append((known, news))
        return found

    async def _post(self, channel: str, several: list[tuple[_KnownRule, RuleChanges]]) -> None:
        now = [(known, known.rule.status) for known, _ in several]
        message = rules_message([news for _, news in several], self.settings.language)
        await self.context.post(channel, message, rank=LATE)
        for known, status in now:
            known.told = status
