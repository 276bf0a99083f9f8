"""What comes with one of the distribution's extras: whoever lacks it is told what to install::

with needing("collector", "Docker"):
    import aiodocker
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from forensics_core.errors import ForensicsError

_OURS = {"forensics_core", "forensics_loopback", "collector", "slackbot"}


@contextmanager
def needing(extra: str, who: str) -> Iterator[None]:
    """Raise `ForensicsError` that names the extra if the block misses a module of somebody else.

    `who` begins the message: who needs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in _OURS:
            raise
        raise ForensicsError(
            f"{who} needs '{missing}', which is not installed", hint=how_to_install(extra)
        ) from error


def how_to_install(extra: str) -> str:
    """Return the hint that says how."""
    return f"Install it, from a checkout of kube-forensics: pip install '.[{extra}]'"


def load(command: str, extra: str, who: str) -> Callable[[], None]:
    """Return what the console script `command`, MODULE:NAME, runs; end the process without it."""
    module, _, name = command.partition(":")
    try:
        with needing(extra, who):
            found: Callable[[], None] = getattr(importlib.import_module(module), name)
    except ForensicsError as error:
        sys.exit(f"Error: {error}")
    return found
