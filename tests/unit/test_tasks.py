"""Task groups raise what matters."""

from __future__ import annotations

import anyio
import pytest

from forensics_core.errors import UsageError
from forensics_core.tasks import task_group


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
