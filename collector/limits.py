"""What keeps a capture from harming its node: a rate, an end that can come early, low priorities::

    rate_limit = RateLimit(100 * 1024 * 1024)
    await rate_limit.turn()
    rate_limit.spent(len(block))

What was read is paid for before more is read: a pipe fills up meanwhile, and its writer waits.

A capture that is told to end does so with what it has by then::

    stop = Stop()
    with stop.scope(deadline) as scope:
        ...  # read
    if scope.cancelled_caught:
        print(stop.reason)  # Deadline or Interrupted

The priorities of processor and disk count among the processes of one cgroup: between the pods of a
node their CPU requests decide. That of the disk needs a scheduler that knows them, such as BFQ.

Source: https://man7.org/linux/man-pages/man2/ioprio_set.2.html
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import anyio


class Clock:
    """The event loop's."""

    def now(self) -> float:
        """Return the moment, in seconds."""
        return anyio.current_time()

    async def sleep_until(self, moment: float) -> None:
        """Wait for a moment."""
        await anyio.sleep_until(moment)


class RateLimit:
    """A rate that all streams of a capture share; 0 is as fast as it goes."""

    def __init__(self, rate: int = 0, clock: Clock | None = None) -> None:
        self.rate = rate
        """Bytes a second."""
        self._clock = clock or Clock()
        self._paid = 0.0
        """When all that was read so far will be paid for, by the event loop's clock."""

    async def turn(self) -> None:
        """Wait until more may be read."""
        await self._clock.sleep_until(self._paid)

    def spent(self, size: int) -> None:
        """Count `size` bytes that were read."""
        if self.rate:
            self._paid = max(self._paid, self._clock.now()) + size / self.rate


class Stop:
    """Made once for a capture; `request` may come at any time, and holds for good."""

    def __init__(self) -> None:
        self.requested = False
        self._scopes: dict[anyio.CancelScope, float] = {}

    @property
    def reason(self) -> str:
        """Why reading ends before its end, in the manifest's word.

        Who is told to end does not learn why: somebody cancelled, or the node is being drained.
        """
        return "Interrupted" if self.requested else "Deadline"

    def request(self) -> None:
        """End what is under way and whatever begins later. Called in the event loop."""
        self.requested = True
        for scope, grace in self._scopes.items():
            _bring_forward(scope, grace)

    @contextmanager
    def scope(self, deadline: float, grace: float = 0) -> Iterator[anyio.CancelScope]:
        """Cancel the block `grace` seconds after the deadline, or after the request if earlier.

        `deadline` is by the event loop's clock.
        """
        with anyio.CancelScope(deadline=deadline + grace) as scope:
            if self.requested:
                _bring_forward(scope, grace)
            self._scopes[scope] = grace
            try:
                yield scope
            finally:
                del self._scopes[scope]


def _bring_forward(scope: anyio.CancelScope, grace: float) -> None:
    scope.deadline = min(scope.deadline, anyio.current_time() + grace)


NICENESS = 10
"""A tenth of the processor's time against a busy workload, and all of it where that is idle."""

_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
"""The system call's number, and the one after it is that of `ioprio_get`."""
_THIS_PROCESS = 1
_IDLE = 3
_LOWEST = 2 << 13 | 7
"""Best effort, the last of eight levels. The idle class might never be served at all."""


def lower_priorities(niceness: int = NICENESS) -> None:
    """Lower this process's priorities, and those of all children to come.

    To be called before the first thread starts, because Linux keeps priorities by thread. A
    process that is nice already stays as nice as it is. A kernel that refuses is left alone.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), niceness))
    number = _IOPRIO_SET.get(platform.machine())
    if number:
        libc = ctypes.CDLL(None)
        if libc.syscall(number + 1, _THIS_PROCESS, 0) >> 13 != _IDLE:
            libc.syscall(number, _THIS_PROCESS, 0, _LOWEST)
