"""A key is in the queue once, and with one worker at a time."""

from __future__ import annotations

import anyio

from forensics_core.operator.shared.queue import FIRST_PAUSE, WorkQueue


async def taken(queue: WorkQueue) -> str:
    async with queue.take() as key:
        return key


async def test_keys_come_in_turn_and_once() -> None:
    queue = WorkQueue()
    for key in ("a", "b", "a"):
        queue.add(key)
    assert queue.depth == 2
    assert [await taken(queue), await taken(queue)] == ["a", "b"]
    assert queue.depth == 0


async def test_a_key_added_while_it_is_worked_on_comes_again_afterwards() -> None:
    queue = WorkQueue()
    queue.add("a")
    async with queue.take():
        queue.add("a")
        queue.add("a")
        assert queue.depth == 0
    assert queue.depth == 1
    assert await taken(queue) == "a"


async def test_taking_waits_for_a_key() -> None:
    queue = WorkQueue()
    got: list[str] = []

    async def work() -> None:
        got.append(await taken(queue))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        tasks.start_soon(work)
        await anyio.wait_all_tasks_blocked()
        queue.add("a")
        queue.add("b")
    assert sorted(got) == ["a", "b"]


async def test_of_several_wishes_for_later_the_earliest_counts_once() -> None:
    queue = WorkQueue()
    queue.add_after("a", 60)
    queue.add_after("a", 0.01)
    queue.add_after("a", 30)
    with anyio.fail_after(5):
        assert await taken(queue) == "a"
    with anyio.move_on_after(0.05) as scope:
        await taken(queue)
    assert scope.cancelled_caught


async def test_failures_wait_longer_each_time_until_there_is_a_success() -> None:
    queue = WorkQueue()
    pauses = [queue.retry("a") for _ in range(12)]
    assert pauses[0] <= FIRST_PAUSE
    assert pauses[-1] > 8 * FIRST_PAUSE
    queue.succeeded("a")
    assert queue.retry("a") <= FIRST_PAUSE


async def test_a_worker_that_is_cancelled_gives_its_key_back() -> None:
    queue = WorkQueue()
    queue.add("a")
    with anyio.move_on_after(0.01):
        async with queue.take():
            queue.add("a")
            await anyio.sleep_forever()
    assert await taken(queue) == "a"
