"""Task groups whose failures read like ordinary exceptions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
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
