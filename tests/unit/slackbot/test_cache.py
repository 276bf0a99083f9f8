"""Answers that are believed for a while, and turns that keep their distance."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from slackbot.cache import Cache
from slackbot.slack import ORDINARY, URGENT, Throttle


class Source:
    """Counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.broken = False

    async def __call__(self) -> int:
        self.asked += 1
        await anyio.lowlevel.checkpoint()
        if self.broken:
            raise OSError("away")
        return self.asked


async def test_whoever_asks_at_once_waits_for_one_answer() -> None:
    known: Cache[int] = Cache(60)
    source, answers = Source(), []

    async def ask() -> None:
        answers.append(await known.get("a", source))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)
    assert answers == [1] * 20
    assert await known.get("b", source) == 2


async def test_what_is_old_is_asked_again() -> None:
    known: Cache[int] = Cache(0)
    source = Source()
    assert [await known.get("a", source), await known.get("a", source)] == [1, 2]


async def test_an_error_is_nobodys_answer() -> None:
    known: Cache[int] = Cache(60)
    source = Source()
    source.broken = True
    with pytest.raises(OSError, match="away"):
        await known.get("a", source)
    source.broken = False
    assert await known.get("a", source) == 2


@pytest.mark.parametrize("seconds", [0, 60])
async def test_it_does_not_grow_for_ever(seconds: float) -> None:
    known: Cache[int] = Cache(seconds, limit=3)
    for number in range(4):
        await known.get(str(number), Source())
    assert len(known._known) <= 3
    assert len(known._locks) <= 3


async def test_turns_come_in_order_and_apart() -> None:
    pace, times = Throttle(0.05), []

    async def take() -> None:
        await pace.wait_turn()
        times.append(anyio.current_time())

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(take)
    assert times == sorted(times)
    assert times[-1] - times[0] > 0.14


async def test_the_urgent_go_first_and_whoever_gives_up_is_not_waited_for() -> None:
    pace, order = Throttle(0.05), []

    async def take(name: str, rank: int) -> None:
        await pace.wait_turn(rank)
        order.append(name)

    await pace.wait_turn()
    async with anyio.create_task_group() as tasks:
        for name, rank in (("a", ORDINARY), ("b", ORDINARY), ("c", URGENT), ("d", URGENT)):
            tasks.start_soon(take, name, rank)
        with anyio.move_on_after(0.001):
            await pace.wait_turn(URGENT)
    assert order == ["c", "d", "a", "b"]
