"""Alerts on their way to the rules: a bounded queue in which equal ones are one.

A flood costs little: what is the same as a moment ago is counted and dropped, and what finds no
place is refused, so that the sender knows.
"""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

import anyio

from forensics_core.operator.alerts.falco import ReceivedAlert
from forensics_core.operator.rules.facts import Alert
from forensics_core.operator.rules.outcomes import HeldReason

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
LOOKS = 3
"""How often: a kubelet takes a second or two to tell of a container that has begun."""

_WRONG_TIME = f"its time is over {MAX_AGE:.0f} s from now: see to the clock of its node"


class AlertOutcome(StrEnum):
    """What came of an alert."""

    TAKEN = "Taken"
    COALESCED = "Coalesced"
    REPLAY = "Replay"
    MAX_AGE = "Stale"
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

    def alert(self, alert: Alert, *, last: bool = False) -> bool:
        """Act on an alert; return whether its pod is known, the `last` time also if not well."""
        ...

    def alert_held(self, alert: Alert, reason: HeldReason, message: str) -> None:
        """Tell the rules that an alert would have concerned."""
        ...


class Intake:
    """The queue.

    `now` is any clock of seconds that is never put back, `date` is the time in seconds since 1970;
    by default the same one.
    """

    def __init__(
        self,
        rules: AlertRules,
        per_second: int,
        now: Callable[[], float] = time.time,
        date: Callable[[], float] | None = None,
    ) -> None:
        self.rules = rules
        self._per_second = per_second
        self._now = now
        self._date = date or now
        self._waiting: deque[Alert] = deque()
        self._unknown: deque[tuple[float, int, Alert]] = deque()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._recent: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._second = (0, 0)
        self._news = anyio.Event()

    def offer(self, received: ReceivedAlert) -> AlertOutcome:
        """Take an alert, or say why not; never waits."""
        now, alert = self._now(), received.alert
        if not received.of_a_pod:
            return AlertOutcome.NO_POD
        if alert.digest in self._seen:
            return AlertOutcome.REPLAY
        stale = received.at is not None and abs(self._date() - received.at.timestamp()) > MAX_AGE
        if not stale and self._is_recent(alert, now):
            self._remember(alert)
            return AlertOutcome.COALESCED
        # What is the same costs next to nothing: a flood of one pod shuts out no other one.
        if not self._within_rate(now):
            return AlertOutcome.TOO_MANY
        if stale:
            self._remember(alert)
            self.rules.alert_held(alert, HeldReason.MAX_AGE, _WRONG_TIME)
            return AlertOutcome.MAX_AGE
        if len(self._waiting) >= MAX_WAITING:
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
            pause = self._unknown[0][0] - self._now() if self._unknown else math.inf
            with anyio.move_on_after(max(0.0, pause)):
                await self._news.wait()

    def _hand_over(self, alert: Alert) -> None:
        if not self.rules.alert(alert):
            self._look_later(alert, 1)

    def _look_later(self, alert: Alert, looks: int) -> None:
        if len(self._unknown) >= MAX_WAITING:
            # A flood of alerts of pods that are gone: nobody else waits for these.
            self._look_again(*self._unknown.popleft()[1:], last=True)
        self._unknown.append((self._now() + UNKNOWN, looks, alert))

    def _give_up(self) -> None:
        """Look again for the pods that were not known; in the end they are gone, or never were."""
        now = self._now()
        while self._unknown and self._unknown[0][0] <= now:
            _, looks, alert = self._unknown.popleft()
            self._look_again(looks, alert, last=looks == LOOKS)

    def _look_again(self, looks: int, alert: Alert, *, last: bool) -> None:
        if self.rules.alert(alert, last=last):
            return
        if last:
            self.rules.alert_held(alert, HeldReason.NOT_FOUND, _missing(alert))
        else:
            self._look_later(alert, looks + 1)

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


def _missing(alert: Alert) -> str:
    return "there is no such pod, or no more" if alert.pod else "no pod has such a container"


def _same(alert: Alert) -> tuple[str, ...]:
    return alert.namespace, alert.pod, alert.container_id, alert.rule
