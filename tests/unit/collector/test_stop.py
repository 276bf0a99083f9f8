"""Reading ends at the deadline or at the wish to stop, whichever comes first."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from collector.stop import Stop


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
