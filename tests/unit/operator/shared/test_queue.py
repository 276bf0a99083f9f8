"""A key is in the queue once, and with one worker at a time."""

from __future__ import annotations

import anyio
import anyio.lowlevel
from hypothesis import given
from hypothesis import strategies as st

from forensics_core.api.urgency import Urgency
from forensics_core.operator.shared.queue import FIRST_PAUSE, IN_TURN, WorkQueue


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


def by_letter(key: str) -> Urgency:
    return {"d": Urgency.DYING, "c": Urgency.CRASHING}.get(key[0], Urgency.REST)


async def test_the_most_urgent_come_first_and_now_and_then_who_has_waited_longest() -> None:
    queue = WorkQueue(by_letter)
    for key in ("r1", "r2", "c1", "d1", "d2", "d3", "d4"):
        queue.add(key)
    assert queue.depth == 7
    got = [await taken(queue) for _ in range(7)]
    assert got == ["d1", "d2", "d3", "r1", "d4", "c1", "r2"]


async def test_a_key_that_has_become_more_urgent_moves_forward() -> None:
    now = {"a": Urgency.REST, "b": Urgency.REST}
    queue = WorkQueue(now.__getitem__)
    queue.add("a")
    queue.add("b")
    now["b"] = Urgency.DYING
    queue.add("b")
    now["b"] = Urgency.REST
    queue.add("b")
    assert (queue.depth, await taken(queue), await taken(queue)) == (2, "b", "a")


@given(st.lists(st.tuples(st.sampled_from("dcr"), st.integers(0, 9)), max_size=60))
def test_no_key_waits_for_ever_however_many_urgent_ones_come(
    arrivals: list[tuple[str, int]],
) -> None:
    """After each arrival one is taken: the oldest key is always among the next few."""

    async def play() -> None:
        queue = WorkQueue(by_letter)
        queue.add("r-first")
        for waited, (letter, number) in enumerate(arrivals, 1):
            queue.add(f"{letter}{number}")
            if await taken(queue) == "r-first":
                return
            assert waited < IN_TURN
        while queue.depth:
            await taken(queue)

    anyio.run(play)


async def test_others_run_between_two_keys_however_many_are_ready() -> None:
    queue = WorkQueue()
    for number in range(10):
        queue.add(str(number))
    turns: list[str] = []

    async def work() -> None:
        while queue.depth:
            async with queue.take() as key:
                turns.append(key)

    async def other() -> None:
        while queue.depth:
            turns.append("other")
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        tasks.start_soon(other)
    assert turns.count("other") >= 10, turns
