"""Alerts on their way to the rules: bursts, floods, replays, pods that are gone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import anyio

from forensics_core.operator.alerts.falco import ReceivedAlert, read_alert
from forensics_core.operator.alerts.intake import MAX_WAITING, AlertOutcome, Intake
from forensics_core.operator.rules.facts import Alert
from tests.unit.operator.alerts.messages import body, falco

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


@dataclass
class Rules:
    """Rules that know some pods."""

    pods: set[str] = field(default_factory=lambda: {"web-0"})
    ready: bool = True
    acted: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    news: anyio.Event = field(default_factory=anyio.Event)

    def alert(self, alert: Alert) -> bool:
        known = alert.pod in self.pods
        if known:
            self.acted.append(alert.pod)
            self._tell()
        return known

    def alert_without_pod(self, alert: Alert) -> None:
        self.gone.append(alert.pod)
        self._tell()

    def _tell(self) -> None:
        self.news.set()
        self.news = anyio.Event()

    async def until(self, met: Callable[[], object]) -> None:
        with anyio.fail_after(60):
            while not met():
                await self.news.wait()


@dataclass
class Clock:
    """Time as a test has it."""

    at: datetime = NOW

    def __call__(self) -> float:
        return self.at.timestamp()

    def later(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def received(pod: str = "web-0", *, after: float = 0, **more: str) -> ReceivedAlert:
    moment = (NOW + timedelta(seconds=after)).isoformat()
    return read_alert(body(falco(pod, **{"time": moment, **more})))


@asynccontextmanager
async def running(intake: Intake) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(intake.run)
        yield
        tasks.cancel_scope.cancel()


async def test_an_alert_reaches_the_rules() -> None:
    rules = Rules()
    intake = Intake(rules, 10, Clock())
    async with running(intake):
        assert intake.offer(received()) is AlertOutcome.TAKEN
        await rules.until(lambda: rules.acted)
    assert rules.acted == ["web-0"]


async def test_a_burst_of_one_pod_is_one_alert_a_second() -> None:
    clock, rules = Clock(), Rules()
    intake = Intake(rules, 5000, clock)
    outcomes = [intake.offer(received(output=str(number))) for number in range(1000)]
    assert outcomes.count(AlertOutcome.TAKEN) == 1
    assert outcomes.count(AlertOutcome.COALESCED) == 999
    clock.later(1)
    assert intake.offer(received(output="later")) is AlertOutcome.TAKEN


async def test_another_rule_or_container_of_the_pod_is_another_alert() -> None:
    intake = Intake(Rules(), 10, Clock())
    assert intake.offer(received()) is AlertOutcome.TAKEN
    assert intake.offer(received(rule="Another")) is AlertOutcome.TAKEN


async def test_what_is_sent_again_is_ignored() -> None:
    clock = Clock()
    intake = Intake(Rules(), 10, clock)
    assert intake.offer(received()) is AlertOutcome.TAKEN
    clock.later(5)
    assert intake.offer(received()) is AlertOutcome.REPLAY


async def test_what_is_old_or_of_the_future_is_ignored() -> None:
    intake = Intake(Rules(), 10, Clock())
    assert intake.offer(received(after=-601)) is AlertOutcome.STALE
    assert intake.offer(received(after=601)) is AlertOutcome.STALE
    assert intake.offer(received(after=-599)) is AlertOutcome.TAKEN


async def test_an_alert_of_the_host_is_none_of_a_pod() -> None:
    intake = Intake(Rules(), 10, Clock())
    assert intake.offer(received("<NA>")) is AlertOutcome.NO_POD


async def test_more_than_so_many_a_second_are_refused_until_the_next() -> None:
    clock = Clock()
    intake = Intake(Rules(), 3, clock)
    outcomes = [intake.offer(received(f"web-{number}")) for number in range(5)]
    assert outcomes.count(AlertOutcome.TOO_MANY) == 2
    assert not AlertOutcome.TOO_MANY.accepted
    clock.later(1)
    assert intake.offer(received("web-4")) is AlertOutcome.TAKEN


async def test_a_flood_of_different_pods_fills_a_bounded_queue_and_no_more() -> None:
    intake = Intake(Rules(), 100_000, Clock())
    outcomes = [intake.offer(received(f"web-{number}")) for number in range(MAX_WAITING + 10)]
    assert outcomes.count(AlertOutcome.TAKEN) == MAX_WAITING
    assert outcomes[-10:] == [AlertOutcome.TOO_MANY] * 10


async def test_a_pod_that_is_not_known_yet_is_looked_for_again() -> None:
    clock, rules = Clock(), Rules(pods=set())
    intake = Intake(rules, 10, clock)
    intake.offer(received("new"))
    async with running(intake):
        await anyio.wait_all_tasks_blocked()
        assert not rules.acted
        rules.pods.add("new")
        clock.later(2)
        intake.offer(received("other"))
        await rules.until(lambda: rules.acted)
    assert rules.acted == ["new"]
    assert rules.gone == []


async def test_a_pod_that_is_gone_or_never_was_is_told() -> None:
    clock, rules = Clock(), Rules()
    intake = Intake(rules, 10, clock)
    intake.offer(received("gone"))
    async with running(intake):
        await anyio.wait_all_tasks_blocked()
        clock.later(2)
        intake.offer(received("web-0"))
        await rules.until(lambda: rules.gone)
    assert rules.gone == ["gone"]


async def test_what_is_remembered_is_bounded() -> None:
    clock = Clock()
    intake = Intake(Rules(), 100_000, clock)
    one = received("web-0")
    for number in range(8192 + 1):
        intake.offer(replace(one, alert=replace(one.alert, digest=str(number))))
    clock.later(2)
    assert intake.offer(replace(one, alert=replace(one.alert, digest="0"))) is AlertOutcome.TAKEN
    last = replace(one, alert=replace(one.alert, digest="8192"))
    assert intake.offer(last) is AlertOutcome.REPLAY
