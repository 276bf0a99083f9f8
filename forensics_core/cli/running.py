"""From a click command into asynchronous code, and out of it on a signal."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import anyio

from forensics_core._internal.tasks import task_group
from forensics_core.cli.interrupt import cancelling

T = TypeVar("T")


class Terminated(Exception):
    """A SIGTERM arrived, and everything under way was cancelled."""


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Return what `work` returns. Ctrl-C and SIGTERM cancel it, so that it can clean up.

    Raises `KeyboardInterrupt` or `Terminated` after that.
    """
    with cancelling():
        return anyio.run(_until_terminated, work)


async def _until_terminated(work: Callable[[], Awaitable[T]]) -> T:
    results: list[T] = []
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async with task_group() as tasks:
            tasks.start_soon(_cancel_on, signals, tasks.cancel_scope)
            results.append(await work())
            tasks.cancel_scope.cancel()
    if not results:
        raise Terminated
    return results[0]


async def _cancel_on(signals: AsyncIterator[signal.Signals], scope: anyio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()
