"""What can vanish is opened before anything is read, and held open until the capture ends.

A container that crashes again and again is started anew while the capture runs: its log is deleted,
its file system unmounted, and after the next crash it is removed altogether. A descriptor that is
open by then goes on reading what it stood for: a log stays whole, a file system stays mounted, and
the files that the container wrote keep their content after they were deleted.

::

    async with preopening() as hold:
        await hold.logs(capture)
        await hold.files(capture, layers=True, root=True)

Nothing fails here: what cannot be opened is tried again when its turn comes, and told then.
"""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from anyio import to_thread

from collector.container import ContainerCapture
from collector.files.upper import MAX_FILES, hold_upper
from collector.runtimes.runtime import Unavailable
from forensics_core.errors import ForensicsError

MAX_DESCRIPTORS = 8192
"""Descriptors of this process past which no more are held."""
_SPARE = 512
"""Descriptors that are left for everything else where fewer are allowed."""

S = TypeVar("S")
T = TypeVar("T")


class Preopened:
    """What is open, of all containers, until the capture ends."""

    def __init__(self, stack: AsyncExitStack, limit: int) -> None:
        self._stack = stack
        self._limit = limit
        self._stuck = False
        """Whether the storage hung once: it would again, and others wait."""

    async def logs(self, capture: ContainerCapture) -> None:
        """Hold a container's logs."""
        capture.held.logs = await self._open(capture.runtime.log_files, capture.container)

    async def files(self, capture: ContainerCapture, *, layers: bool, root: bool) -> None:
        """Hold the layers of a container's overlay, its merged file system, and what it wrote."""
        if layers or root:
            capture.held.layers = await self._open(capture.runtime.layers, capture.container)
        if root:
            capture.held.root = await self._open(capture.runtime.root, capture.container)
        if root and capture.held.layers:
            room = self._limit - await to_thread.run_sync(_descriptors)
            hold = partial(hold_upper, limit=min(MAX_FILES, max(room, 0)))
            capture.held.upper = await self._open(hold, capture.held.layers.upper)

    async def _open(
        self, opening: Callable[[S], AbstractAsyncContextManager[T]], source: S
    ) -> T | None:
        if self._stuck or await to_thread.run_sync(_descriptors) > self._limit:
            return None
        try:
            return await self._stack.enter_async_context(opening(source))
        except Unavailable as why:
            self._stuck = why.reason == "Hung"
        except (ForensicsError, OSError):
            pass
        return None


@asynccontextmanager
async def preopening(most: int = MAX_DESCRIPTORS) -> AsyncIterator[Preopened]:
    """Hold what the block opens until it ends, in up to `most` descriptors."""
    async with AsyncExitStack() as stack:
        yield Preopened(stack, _limit(most))


def _limit(most: int) -> int:
    """Return how many descriptors may be open when one more is to be held."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + _SPARE
    if hard == resource.RLIM_INFINITY or hard > soft:
        soft = max(soft, wanted if hard == resource.RLIM_INFINITY else min(wanted, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    # One container may have hundreds of layers, and reading takes several a layer.
    return min(most, (soft - _SPARE) // 2)


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
