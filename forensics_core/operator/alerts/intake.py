"""Alerts on their way to the rules: a bounded queue in which equal ones are one.

A flood costs little: what is the same as a moment ago is counted and dropped, and what finds no
place is refused, so that the sender knows.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

import anyio

from forensics_core.operator.alerts.falco import ReceivedAlert
from forensics_core.operator.rules.facts import Alert

log = logging.getLogger(__name__)

MAX_WAITING = 1000
"""Alerts that may wait."""
MAX_REMEMBERED = 8192
"""Alerts that are remembered, to know them when they are sent again."""
MAX_AGE = 600.0
"""Seconds by which an alert may be older or newer than now: what is sent again later is told by its
time, once it is not remembered any more."""
SAME_SECONDS = 1.0
"""Seconds for which alerts of one rule, pod and container are one."""
UNKNOWN = 1.0
"""Seconds until a pod that is not known is looked for again: it may have begun a moment ago."""


class AlertOutcome(StrEnum):
    """What came of an alert."""

    TAKEN = "Taken"
    COALESCED = "Coalesced"
    REPLAY = "Replay"
    STALE = "Stale"
    NO_POD = "NoPod"
    TOO_MANY = "TooMany"

    @property
    def accepted(self) -> bool:
        """Whether the sender need not try again."""
        return self is not AlertOutcome.TOO_MANY


class AlertRules(Protocol):
    """What acts on alerts: `RuleController`."""

    @property
    def ready(self) -> bool:
        """Whether it is known which pods there are."""
        ...

    def alert(self, alert: Alert) -> bool:
        """Act on an alert; return whether its pod is known."""
        ...

    def alert_without_pod(self, alert: Alert) -> None:
        """Tell the rules that an alert would have concerned."""
        ...


class Intake:
    """The queue; `now` is the time in seconds since 1970."""

    def __init__(
        self, rules: AlertRules, per_second: int, now: Callable[[], float] = time.time
    ) -> None:
        self.rules = rules
        self._per_second = per_second
        self._now = now
        self._waiting: deque[Alert] = deque()
        self._unknown: deque[tuple[float, Alert]] = deque()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._recent: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._second = (0, 0)
        self._news = anyio.Event()

    def offer(self, received: ReceivedAlert) -> AlertOutcome:
        """Take an alert, or say why not; never waits."""
        now = self._now()
        if not self._within_rate(now):
            return AlertOutcome.TOO_MANY
        if not received.of_a_pod:
            return AlertOutcome.NO_POD
        if received.at is not None and abs(now - received.at.timestamp()) > MAX_AGE:
            return AlertOutcome.STALE
        alert = received.alert
        if alert.digest in self._seen:
            return AlertOutcome.REPLAY
        if self._is_recent(alert, now):
            self._remember(alert)
            return AlertOutcome.COALESCED
        if len(self._waiting) + len(self._unknown) >= MAX_WAITING:
            # Not remembered: the sender may offer it again.
            return AlertOutcome.TOO_MANY
        self._remember(alert)
        self._recent[_same(alert)] = now + SAME_SECONDS
        self._waiting.append(alert)
        self._news.set()
        return AlertOutcome.TAKEN

    async def run(self) -> None:
        """Hand alerts to the rules until cancelled."""
        while True:
            while self._waiting:
                self._hand_over(self._waiting.popleft())
                await anyio.lowlevel.checkpoint()
            self._give_up()
            self._news = anyio.Event()
            pause = self._unknown[0][0] - self._now() if self._unknown else float("inf")
            with anyio.move_on_after(max(0.0, pause)):
                await self._news.wait()

    def _hand_over(self, alert: Alert) -> None:
        if not self.rules.alert(alert):
            self._unknown.append((self._now() + UNKNOWN, alert))

    def _give_up(self) -> None:
        """Look once more for the pods that were not known; then they are gone, or never were."""
        now = self._now()
        while self._unknown and self._unknown[0][0] <= now:
            _, alert = self._unknown.popleft()
            if not self.rules.alert(alert):
                self.rules.alert_without_pod(alert)

    def _within_rate(self, now: float) -> bool:
        second, count = self._second
        count = count + 1 if second == int(now) else 1
        self._second = int(now), count
        return count <= self._per_second

    def _is_recent(self, alert: Alert, now: float) -> bool:
        while self._recent and next(iter(self._recent.values())) <= now:
            self._recent.popitem(last=False)
        return _same(alert) in self._recent

    def _remember(self, alert: Alert) -> None:
        self._seen[alert.digest] = None
        if len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)


def _same(alert: Alert) -> tuple[str, ...]:
    return alert.namespace, alert.pod, alert.container_id, alert.rule
