"""A budget is overdrawn by nobody who could wait, and those who wait are served in turn."""

from __future__ import annotations

import anyio
import pytest

from forensics_core.storage.budget import ByteBudget


async def test_reserving_waits_until_enough_was_released() -> None:
    budget = ByteBudget(10)
    await budget.reserve(8)
    budget.leave(8)
    order: list[str] = []

    async def want(name: str, size: int) -> None:
        await budget.reserve(size)
        order.append(name)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(want, "large", 9)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(want, "small", 1)
        await anyio.wait_all_tasks_blocked()
        assert order == []
        budget.gone(1)
        await anyio.wait_all_tasks_blocked()
        assert order == []
        budget.gone(6)
        await anyio.wait_all_tasks_blocked()
        assert order == ["large"]
        budget.leave(9)
        budget.gone(1)
        await anyio.wait_all_tasks_blocked()
    assert order == ["large", "small"]
    assert (budget.reserved, budget.leaving) == (10, 9)


async def test_nobody_waits_for_what_is_only_being_filled() -> None:
    """Whoever fills it may be waiting for the one who asks: the index of an archive does."""
    budget = ByteBudget(10)
    await budget.reserve(8)
    with anyio.fail_after(5):
        await budget.reserve(8)
    assert budget.reserved == 16
    budget.leave(8)
    with anyio.move_on_after(0.05) as waiting:
        await budget.reserve(1)
    assert waiting.cancelled_caught


async def test_a_waiter_that_gives_up_takes_nothing() -> None:
    budget = ByteBudget(4)
    await budget.reserve(4)
    budget.leave(4)
    with anyio.move_on_after(0.01):
        await budget.reserve(1)
    budget.gone(4)
    await budget.reserve(4)
    assert budget.reserved == 4


async def test_more_than_all_of_it_is_given_when_all_else_that_left_is_gone() -> None:
    budget = ByteBudget(4)
    await budget.reserve(3)
    budget.leave(3)
    with anyio.move_on_after(0.05) as waiting:
        await budget.reserve(5)
    assert waiting.cancelled_caught
    budget.gone(3)
    await budget.reserve(5)
    assert budget.reserved == 5


def test_an_empty_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        ByteBudget(0)
