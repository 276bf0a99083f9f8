"""Blocking reads that may never come back: of a stuck process, of a network's or a user's files.

A thread that the kernel does not let go cannot be ended. It is left behind: being a daemon, it does
not keep the program from ending::

    row = await run_abandonable(5, "process 4711", describe, 4711)

What reads in many steps calls `raise_if_abandoned` between them. It ends a thread that is not
waited for any more, which would otherwise go on taking memory and processor for nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import anyio
from anyio import from_thread
from anyio.lowlevel import current_token

from collector.runtimes.runtime import Unavailable

T = TypeVar("T")

MAX_LEFT = 64
"""Threads left behind that still hang; with so many, no further read is begun."""
_given_up = threading.local()


@dataclass(slots=True)
class HangTimeouts:
    """How long many reads of one sort are waited for, of which some may hang."""

    seconds: float
    """For one."""
    least: float
    """For one after so many have hung that all the time for that is spent."""
    left: float
    """Seconds that all that hang may cost."""

    @property
    def now(self) -> float:
        """How long to wait for the next one."""
        return self.seconds if self.left > 0 else self.least

    def lost(self) -> None:
        """Count one that has hung."""
        self.left -= self.now


class Abandoned(Exception):
    """Ends a thread that is not waited for any more."""


def raise_if_abandoned() -> None:
    """Raise `Abandoned` in a thread that `run_abandonable` does not wait for any more."""
    event: threading.Event | None = getattr(_given_up, "event", None)
    if event and event.is_set():
        raise Abandoned


@dataclass(slots=True)
class AbandonedThreads:
    """The threads that are not waited for any more, of which there are `most` at most."""

    most: int = MAX_LEFT
    threads: list[threading.Thread] = field(default_factory=list)

    def require_room(self, what: str) -> None:
        """Raise `Unavailable` where so many hang already that `what` is not to be begun."""
        self.threads[:] = [thread for thread in self.threads if thread.is_alive()]
        if len(self.threads) >= self.most:
            message = f"{len(self.threads)} other reads hang, {what} is not begun"
            raise Unavailable(message, reason="Hung")


_ABANDONED_THREADS = AbandonedThreads()


async def run_abandonable(
    seconds: float,
    what: str,
    action: Callable[..., T],
    *arguments: object,
    abandoned: AbandonedThreads = _ABANDONED_THREADS,
) -> T:
    """Return what `action` returns, in a thread that is left behind after `seconds`.

    Raises what `action` raises, and `Unavailable` of reason `Hung` where it does not come back,
    where too many others have not, or where no time is left for it.
    """
    abandoned.require_room(what)
    if seconds <= 0:
        raise Unavailable(f"No time was left for reading {what}", reason="Hung")
    token, done, given_up = current_token(), anyio.Event(), threading.Event()
    results, errors = list[T](), list[BaseException]()

    def work() -> None:
        _given_up.event = given_up
        try:
            results.append(action(*arguments))
        except BaseException as error:  # it is raised where it is waited for
            errors.append(error)
        with suppress(RuntimeError):  # nobody waits any more
            from_thread.run_sync(done.set, token=token)

    thread = threading.Thread(target=work, name=what, daemon=True)
    thread.start()
    try:
        with anyio.move_on_after(seconds):
            await done.wait()
    finally:
        if not done.is_set():
            given_up.set()
            abandoned.threads.append(thread)
    if errors:
        raise errors[0]
    if not results:
        raise Unavailable(f"Reading {what} took more than {seconds:g} s", reason="Hung")
    return results[0]
