"""Task groups raise what matters, and some work outlasts a cancellation."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from forensics_core._internal.tasks import finish_despite_cancel, task_group
from forensics_core.errors import UsageError


async def fail(error: Exception) -> None:
    raise error


async def test_the_only_failure_is_raised_bare() -> None:
    with pytest.raises(KeyError):
        async with task_group() as outer, task_group() as inner:
            outer.start_soon(anyio.sleep_forever)
            inner.start_soon(fail, KeyError("a"))


async def test_an_error_that_says_what_to_do_comes_first() -> None:
    with pytest.raises(UsageError):
        async with task_group() as tasks:
            tasks.start_soon(fail, ValueError("x"))
            tasks.start_soon(fail, UsageError("y", hint="z"))


async def test_several_unexpected_failures_stay_together() -> None:
    with pytest.raises(ExceptionGroup):
        async with task_group() as tasks:
            tasks.start_soon(fail, ValueError("x"))
            tasks.start_soon(fail, KeyError("y"))


async def test_groups_within_groups_are_looked_into() -> None:
    within = ExceptionGroup("x", [ExceptionGroup("y", [anyio.BrokenResourceError(), KeyError()])])
    with pytest.raises(KeyError):
        async with task_group() as tasks:
            tasks.start_soon(fail, within)


class Work:
    """Something that takes its time, which nobody may break off."""

    def __init__(self) -> None:
        self.begun, self.go_on, self.done = anyio.Event(), anyio.Event(), False

    async def __call__(self) -> None:
        self.begun.set()
        await self.go_on.wait()
        self.done = True


async def test_work_that_nobody_cancels_is_just_done() -> None:
    work = Work()
    work.go_on.set()
    await finish_despite_cancel(work, 0)
    assert work.done


async def test_work_outlasts_a_cancellation_which_is_delivered_after_it() -> None:
    work = Work()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(finish_despite_cancel, work, 60)
            await work.begun.wait()
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.wait_all_tasks_blocked()
            work.go_on.set()
    assert work.done and scope.cancelled_caught


async def test_work_outlasts_a_cancellation_of_asyncio_itself() -> None:
    """As Ctrl-C is one, in a script that was started by `asyncio.run`."""
    work = Work()
    task = asyncio.create_task(finish_despite_cancel(work, 60))
    await work.begun.wait()
    task.cancel()
    await anyio.wait_all_tasks_blocked()
    work.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.done


async def test_work_is_given_up_when_its_grace_is_over() -> None:
    work = Work()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(finish_despite_cancel, work, 0)
            await work.begun.wait()
            scope.cancel()
    assert not work.done and scope.cancelled_caught


async def test_work_is_not_begun_by_who_was_cancelled_before() -> None:
    work = Work()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await finish_despite_cancel(work, 60)
    assert not work.begun.is_set()


async def test_work_that_fails_after_a_cancellation_says_so() -> None:
    begun = anyio.Event()

    async def work() -> None:
        begun.set()
        with anyio.CancelScope(shield=True):
            await anyio.wait_all_tasks_blocked()
        raise UsageError("y", hint="z")

    with pytest.raises(UsageError):
        async with task_group() as tasks:
            tasks.start_soon(finish_despite_cancel, work, 60)
            await begun.wait()
            tasks.cancel_scope.cancel()
