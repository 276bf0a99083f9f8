"""Blocking reads that may never come back: of a stuck process, of a network's or a user's files.

A thread that the kernel does not let go cannot be ended. It is left behind: being a daemon, it does
not keep the program from ending::

    row = await patiently(5, "process 4711", describe, 4711)
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import anyio
from anyio import from_thread
from anyio.lowlevel import current_token

from collector.runtimes.runtime import Unavailable

T = TypeVar("T")


async def patiently(seconds: float, what: str, action: Callable[..., T], *arguments: object) -> T:
    """Return what `action` returns, in a thread that is left behind after `seconds`.

    Raises what `action` raises, and `Unavailable` of reason `Hung` where it does not come back.
    """
    token, done = current_token(), anyio.Event()
    results, errors = list[T](), list[BaseException]()

    def work() -> None:
        try:
            results.append(action(*arguments))
        except BaseException as error:  # it is raised where it is waited for
            errors.append(error)
        with suppress(RuntimeError):  # nobody waits any more
            from_thread.run_sync(done.set, token=token)

    threading.Thread(target=work, name=what, daemon=True).start()
    with anyio.move_on_after(seconds):
        await done.wait()
    if errors:
        raise errors[0]
    if not results:
        raise Unavailable(f"Reading {what} took more than {seconds:g} s", reason="Hung")
    return results[0]
