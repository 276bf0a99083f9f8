"""What the demo shows: a line for each step, the commands that it runs, and what they say."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Container, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from lab.process import LabError

GRACE = 20.0
"""Seconds that a command gets to end by itself once it was told to."""


def title(text: str) -> None:
    """Begin a part."""
    _print(f"\n== {text} ==", "1;36")


def tell(text: str) -> None:
    """Say what happens next, in one line."""
    _print(f"\n{text}", "36")


async def run(
    *command: str,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    fine: Container[int] = (0,),
) -> None:
    """Show a command and run it, on the terminal that the demo has.

    `env` is added to the environment; `folder` is where it runs. Raises `LabError` if it ends with
    another exit code than those that are `fine`.
    """
    async with running(*command, env=env, folder=folder) as process:
        code = await process.wait()
    if code not in fine:
        raise LabError(f"The command '{shlex.join(command)}' ended with {code}")


async def follow(
    *command: str, until: Callable[[str], object], env: Mapping[str, str] | None = None
) -> None:
    """Show a command and the lines that it prints, until one of them is the last of interest.

    Raises `LabError` if the command ends before.
    """
    async with running(*command, env=env, output=subprocess.PIPE) as process:
        assert process.stdout  # noqa: S101  # a pipe, as asked for
        rest = ""
        async for text in TextReceiveStream(process.stdout):
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                print(line, flush=True)
                if until(line):
                    return
    raise LabError(f"The command '{shlex.join(command)}' ended too soon")


@asynccontextmanager
async def running(
    *command: str,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    output: int | None = None,
) -> AsyncIterator[Process]:
    """Show a command and run it while the block does; it is ended with the block."""
    _print(f"$ {shlex.join(command)}", "1")
    process = await anyio.open_process(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None,
        cwd=folder,
        env={**os.environ, **(env or {})},
    )
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)


async def _end(process: Process) -> None:
    """Let it clean up: a capture aborts its uploads, and a bar gives the cursor back."""
    if process.returncode is None:
        # Not by terminate(): that may reap it first, and then asyncio says that it misses a child.
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        with anyio.move_on_after(GRACE):
            await process.wait()
    await process.aclose()


def _print(text: str, style: str) -> None:
    """Print at once, because commands write to the same place; in colour where that is wanted."""
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        text = f"\x1b[{style}m{text}\x1b[0m"
    print(text, flush=True)
