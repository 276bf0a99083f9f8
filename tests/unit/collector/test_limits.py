"""Reading ends at the deadline or at the wish to stop, whichever comes first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import anyio
import anyio.lowlevel
import pytest

from collector.limits import NICENESS, Clock, RateLimit, Stop, lower_priorities


async def test_a_scope_ends_at_its_deadline() -> None:
    stop = Stop()
    with stop.scope(anyio.current_time() + 0.01) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert stop.reason == "Deadline"


async def test_a_request_ends_what_is_under_way() -> None:
    stop = Stop()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_ask, stop)
        with stop.scope(float("inf")) as scope:
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert stop.reason == "Interrupted"


async def _ask(stop: Stop) -> None:
    stop.request()
    await anyio.lowlevel.checkpoint()


async def test_a_request_ends_what_begins_later() -> None:
    stop = Stop()
    stop.request()
    with stop.scope(float("inf")) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught


@pytest.mark.parametrize("before", [True, False])
async def test_a_request_leaves_the_grace(before: bool) -> None:
    stop, now = Stop(), anyio.current_time()
    if before:
        stop.request()
    with stop.scope(now + 3600, grace=20) as scope:
        stop.request()
        await anyio.lowlevel.checkpoint()
        assert now + 20 <= scope.deadline < now + 3600


async def test_a_request_never_puts_a_deadline_off() -> None:
    stop, soon = Stop(), anyio.current_time() + 5
    with stop.scope(soon - 20, grace=20) as scope:
        stop.request()
        assert scope.deadline == soon


async def test_a_scope_that_ended_is_left_alone() -> None:
    stop = Stop()
    with stop.scope(float("inf")) as scope:
        pass
    stop.request()
    assert scope.deadline == float("inf")


class StandingClock(Clock):
    """One that stands at 1000, and remembers what was waited for."""

    def __init__(self) -> None:
        self.moment = 1000.0
        self.waited: list[float] = []

    def now(self) -> float:
        return self.moment

    async def sleep_until(self, moment: float) -> None:
        self.waited.append(moment)


async def test_what_was_read_is_paid_for_before_more_is_read() -> None:
    clock = StandingClock()
    rate_limit = RateLimit(100, clock)
    await rate_limit.turn()
    for size in (50, 200):
        rate_limit.spent(size)
        await rate_limit.turn()
    assert clock.waited == [0, 1000.5, 1002.5]


async def test_nothing_is_saved_up() -> None:
    """An hour without reading does not allow for an hour's worth at once."""
    clock = StandingClock()
    rate_limit = RateLimit(100, clock)
    rate_limit.spent(100)
    clock.moment = 4600.0
    rate_limit.spent(100)
    await rate_limit.turn()
    assert clock.waited == [4601]


async def test_without_a_rate_nobody_waits() -> None:
    clock = StandingClock()
    rate_limit = RateLimit(clock=clock)
    rate_limit.spent(1 << 40)
    await rate_limit.turn()
    assert clock.waited == [0]


SCRIPT = """
import os, subprocess, sys
from collector.limits import lower_priorities
if len(sys.argv) > 1:
    os.setpriority(os.PRIO_PROCESS, 0, int(sys.argv[1]))
lower_priorities()
for command in ("nice", "ionice"):
    print(subprocess.run([command], check=True, capture_output=True, text=True).stdout.strip())
"""


def said_by_children(*arguments: str, under: Sequence[str] = ()) -> list[str]:
    command = [*under, sys.executable, "-c", SCRIPT, *arguments]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return run.stdout.splitlines()


def niceness(*arguments: str) -> int:
    return int(said_by_children(*arguments)[0])


def test_children_are_as_nice() -> None:
    assert niceness() == max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0))


def test_nobody_becomes_less_nice() -> None:
    assert niceness("15") == 15


def test_children_come_last_at_the_disk() -> None:
    assert said_by_children()[1] == "best-effort: prio 7"


def test_nobody_leaves_the_idle_class() -> None:
    assert said_by_children(under=("ionice", "-c", "3"))[1] == "idle"


def test_a_machine_whose_system_calls_are_unknown_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "pdp11")
    before = os.getpriority(os.PRIO_PROCESS, 0)
    lower_priorities(niceness=before)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
