"""The command as a program: into asynchronous code, out of it on a signal, an exit code for errors.

Exit codes: 1 failed, 2 wrong usage, 3 evidence does not verify, 4 captured in part,
130 interrupted, 143 terminated.
"""

from __future__ import annotations

import atexit
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio
import click

from forensics_core._internal.tasks import task_group
from forensics_core.cli.interrupt import raise_on_sigint
from forensics_core.cli.render import clean_message
from forensics_core.errors import ForensicsError

T = TypeVar("T")

INTERRUPTED = 130
TERMINATED = 143
_ENDING = 1.0
"""Seconds in which a thread ends that was told to."""
# EFBIG is what a file system says that has no files of this size, such as FAT beyond 4 GiB.
_OUTPUT_FAILED = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG}


class Terminated(Exception):
    """A SIGTERM arrived, and everything under way was cancelled."""


def command_name() -> str:
    """Return how the command was called, for messages: `forensics`, or `kubectl forensics`."""
    return click.get_current_context().find_root().info_name or "forensics"


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Return what `work` returns. Ctrl-C and SIGTERM cancel it, so that it can clean up.

    Raises `KeyboardInterrupt` or `Terminated` after that.
    """
    with raise_on_sigint():
        return anyio.run(_until_terminated, work)


async def _until_terminated(work: Callable[[], Awaitable[T]]) -> T:
    # A list, as the result may be there when the signal comes: then it counts, and not the signal.
    results: list[T] = []
    # Left alone, SIGTERM would end the process where it is, with uploads open in the bucket and
    # containers paused.
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


@contextmanager
def exit_on_error(*, debug: bool) -> Iterator[None]:
    """Print what the block raises on one line and exit; with `debug`, after its traceback.

    What click raises by itself, and a closed pipe, is left to click.
    """
    try:
        yield
    # Of a closed pipe click makes the exit code 1 without a word, which `| head` expects.
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        message, code = _message_and_code(error)
        click.echo(f"Error: {clean_message(message)}", err=True)
        raise click.exceptions.Exit(code) from error


def _message_and_code(error: BaseException) -> tuple[str, int]:
    if isinstance(error, ForensicsError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "Interrupted.", INTERRUPTED
    if isinstance(error, Terminated):
        return str(error) or "Terminated by a signal.", TERMINATED
    # One with a path is about a file that the user named; one without is a mistake of ours.
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename!s}: {error.strerror}. Check the path, and your rights to it.", 1
    if isinstance(error, OSError) and error.errno in _OUTPUT_FAILED:
        return f"The output could not be written: {error.strerror}. Write it elsewhere.", 1
    where = "Run it again as 'forensics --debug ...' to see where, and report it."
    return f"Unexpected {type(error).__name__}: {error}. {where}", 1


def leave(code: int) -> None:
    """End the process at once, once all that it has to say is said; return where it must not.

    Python would first take apart all that it loaded: a twelfth of what a small capture takes. It
    is left to do so where a thread is still waited for, or where output cannot be written.
    """
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join(_ENDING)  # those of the event loop are told to end, and about to
            if thread.is_alive():
                return
    # What asked to run at the end does so: it has no name that is public.
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return
    os._exit(code)
