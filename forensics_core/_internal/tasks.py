"""Task groups whose failures read like ordinary exceptions, and work that outlasts its caller."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from forensics_core.errors import ForensicsError


@asynccontextmanager
async def task_group() -> AsyncIterator[TaskGroup]:
    """Open a task group that raises the one error that matters instead of a group of them.

    A `ForensicsError` comes before anything else, because it says what to do. A broken memory
    stream only echoes the failure of the task at its other end. A group of several unexpected
    errors is left whole.
    """
    try:
        async with anyio.create_task_group() as group:
            yield group
    except BaseExceptionGroup as failures:
        chosen = _choose(failures)
        if chosen is failures:
            raise
        raise chosen from chosen.__cause__


async def finish_despite_cancel(work: Callable[[], Awaitable[object]], grace: float) -> None:
    """Do `work`, which goes on for `grace` seconds at most once this is cancelled.

    For what must not be left half known: a request that makes something, whose answer says what.
    `work` keeps its result itself. The cancellation is delivered when it has ended. It runs in a
    task of its own, because a shield keeps out asyncio's own cancellations only there.
    """
    await anyio.lowlevel.checkpoint_if_cancelled()
    done = anyio.Event()
    with_grace = anyio.CancelScope(shield=True)

    async def shielded() -> None:
        with with_grace:
            await work()
        done.set()

    async with task_group() as tasks:
        tasks.start_soon(shielded)
        try:
            await done.wait()
        except anyio.get_cancelled_exc_class():
            with_grace.deadline = anyio.current_time() + grace
            raise


def _choose(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    leaves = list(_leaves(failures))
    known = [leaf for leaf in leaves if isinstance(leaf, ForensicsError)]
    if known:
        return known[0]
    causes = [leaf for leaf in leaves if not isinstance(leaf, anyio.BrokenResourceError)]
    return causes[0] if len(causes) == 1 else failures


def _leaves(failures: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for failure in failures.exceptions:
        if isinstance(failure, BaseExceptionGroup):
            yield from _leaves(failure)
        else:
            yield failure
