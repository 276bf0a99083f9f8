"""What becomes of exceptions: one line on the standard error, and an exit code.

Codes: 1 failed, 2 wrong usage, 3 evidence does not verify, 4 captured in part, 130 interrupted,
143 terminated.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import click

from forensics_core.cli.render import prose
from forensics_core.cli.running import Terminated
from forensics_core.errors import ForensicsError

INTERRUPTED = 130
TERMINATED = 143


@contextmanager
def failing(*, debug: bool) -> Iterator[None]:
    """Print what the block raises on one line and exit; with `debug`, after its traceback.

    What click raises by itself, and a closed pipe, is left to click.
    """
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        message, code = _verdict(error)
        click.echo(f"Error: {prose(message)}", err=True)
        raise click.exceptions.Exit(code) from error


def _verdict(error: BaseException) -> tuple[str, int]:
    if isinstance(error, ForensicsError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "Interrupted.", INTERRUPTED
    if isinstance(error, Terminated):
        return str(error) or "Terminated by a signal.", TERMINATED
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename!s}: {error.strerror}. Check the path, and your rights to it.", 1
    where = "Run it again as 'forensics --debug ...' to see where, and report it."
    return f"Unexpected {type(error).__name__}: {error}. {where}", 1
