"""The start of the command: Ctrl-C, where Python would print where it was, and Python's own work.

Loading what a command needs takes a moment, in which there is nothing to clean up: the process ends
at once, with one line. `run` then lets Ctrl-C cancel what is under way. It is a module of its own
because it comes before all others, and loads nothing that takes long.
"""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

CODE = 130
_PROGRAMS = ("forensics", "kubectl-forensics")
_NEW_OBJECTS = 50_000
"""Containers between two looks for garbage in cycles, a few MiB at most; 700 by default."""


def _exit(_: int, __: FrameType | None) -> None:
    # No `print`, and no `sys.exit`: an import may hold any lock, or catch what is raised in it.
    os.write(2, b"Error: Interrupted.\n")
    os._exit(CODE)


def exit_on_sigint() -> None:
    """End on Ctrl-C, if this process is the command and not somebody who imports it."""
    # Whoever ignores it keeps doing so: scripts start jobs in the background like that.
    if _is_ours() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit)


def collect_garbage_rarely() -> None:
    """Look for garbage less often, if this process is the command.

    Loading makes half a million objects that all stay: a seventh of the time went into looking at
    them again and again.
    """
    if _is_ours():
        gc.set_threshold(_NEW_OBJECTS)


def _is_ours() -> bool:
    return os.path.basename(sys.argv[0]) in _PROGRAMS  # noqa: PTH119  # pathlib takes long to load


@contextmanager
def raise_on_sigint() -> Iterator[None]:
    """Let Ctrl-C raise `KeyboardInterrupt` in the block, which cleans up."""
    ours = signal.getsignal(signal.SIGINT) is _exit
    # Asyncio, which cancels the work on Ctrl-C, takes over from this handler only.
    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, _exit)


def ignore_sigint() -> None:
    """Ignore Ctrl-C from now on: the work is done, and its exit code is that of the process."""
    if signal.getsignal(signal.SIGINT) in {_exit, signal.default_int_handler}:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
