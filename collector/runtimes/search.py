"""Choosing one of several runtimes: what was tried, and why each was not it.

A process may restart just now, and several may run, of which one knows the container::

    async with chosen_runtime(choose, "containerd://4f2a...") as runtime:
        ...
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio
from anyio import to_thread

from collector.runtimes.endpoints import ENDPOINT, Endpoint, in_job, look, unusable_namesakes, usual
from collector.runtimes.runtime import Runtime
from forensics_core.errors import (
    ContainerGone,
    ContainerNotFound,
    RuntimeNotFound,
    RuntimeUnavailable,
    SourceError,
)

_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class RuntimeFinder:
    """How the runtimes of this node are found."""

    look: Callable[[str], list[Endpoint]] = look
    """Returns where those listen whose program has a name."""
    seconds: float = 10.0
    """That one may take to say who it is."""
    restarting: float = 10.0
    """Seconds for which a Job looks again where none answers: it may be on its way up."""


FINDING = RuntimeFinder()

R = TypeVar("R", bound=Runtime)


@asynccontextmanager
async def chosen_runtime(
    choose: Callable[[AsyncExitStack, str], Awaitable[R]],
    container: str,
    finding: RuntimeFinder = FINDING,
) -> AsyncIterator[R]:
    """Yield what `choose` returns for `container`; it opens what it needs on the stack it is given.

    In a Job, where another attempt is dear, a runtime that restarts is waited for a little.
    """
    until = anyio.current_time() + (finding.restarting if in_job() else 0)
    while True:
        async with AsyncExitStack() as attempt:
            try:
                runtime = await choose(attempt, container)
            except RuntimeUnavailable:
                if anyio.current_time() >= until:
                    raise
            else:
                yield runtime
                return
        await anyio.sleep(_PAUSE)


class RuntimeSearch(Generic[R]):
    """One look at all places where a runtime of one kind may listen."""

    def __init__(self, scheme: str, program: str) -> None:
        self._scheme = scheme
        self._program = program
        self._said: list[str] = []
        self._doubtful = False
        self._strangers: list[R] = []

    def note(self, why: str, *, final: bool = False) -> None:
        """Keep why one was not it; `final` where it never will be, so that no try fares better."""
        self._said.append(why)
        self._doubtful = self._doubtful or not final

    async def knows(self, runtime: R, container: str) -> bool:
        """Return whether a runtime knows the container; where it does not say so, note why."""
        try:
            await runtime.find(container)
        except (ContainerNotFound, ContainerGone) as error:
            self._strangers.append(runtime)
            self.note(str(error), final=True)
        except (RuntimeUnavailable, SourceError) as error:
            self.note(str(error))
        else:
            return True
        return False

    async def end(self) -> R:
        """Return the first of those that answer and do not know the container: it says so itself.

        Raises `RuntimeNotFound` where none answers, and `RuntimeUnavailable` where one that did not
        may be the right one.
        """
        if self._strangers and not self._doubtful:
            return self._strangers[0]
        others = await to_thread.run_sync(unusable_namesakes, self._program)
        if self._said:
            kind = RuntimeUnavailable if self._doubtful else RuntimeNotFound
            whose = " that knows the container" if self._strangers else ""
            raise kind(
                f"No {self._scheme}{whose} answers: {' '.join([*self._said, *others])}".rstrip("."),
                hint=f"Name its socket in {ENDPOINT}, and run it as root",
            )
        where = "" if in_job() else f", and nothing is at {usual(self._program)}"
        raise RuntimeNotFound(
            " ".join(
                [f"No {self._scheme} runs here: no process of it listens{where}.", *others]
            ).rstrip("."),
            hint=f"Start it, or name its socket in {ENDPOINT}",
        )
