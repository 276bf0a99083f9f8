"""Calls of Slack that are kept apart in time."""

from __future__ import annotations

import anyio

from slackbot.slack import ORDINARY, URGENT, Throttle


async def test_calls_are_in_order_and_apart() -> None:
    throttle, times = Throttle(0.05), []

    async def take() -> None:
        await throttle.wait_turn()
        times.append(anyio.current_time())

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(take)
    assert times == sorted(times)
    assert times[-1] - times[0] > 0.14


async def test_urgent_calls_go_first_and_cancelled_ones_are_skipped() -> None:
    # Long enough for all to queue before the first turn comes, on a busy machine, too.
    throttle, order = Throttle(0.3), []

    async def take(name: str, rank: int) -> None:
        await throttle.wait_turn(rank)
        order.append(name)

    await throttle.wait_turn()
    async with anyio.create_task_group() as tasks:
        for name, rank in (("a", ORDINARY), ("b", ORDINARY), ("c", URGENT), ("d", URGENT)):
            tasks.start_soon(take, name, rank)
        with anyio.move_on_after(0.001):
            await throttle.wait_turn(URGENT)
    assert order == ["c", "d", "a", "b"]
