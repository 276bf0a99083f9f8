"""Progress: a bar on a terminal, plain lines in a pipe, nothing where JSON is asked for::

    meter = Meter()
    async with progress(meter, "Capturing", quiet=output == "json"):
        ...

It is drawn on the standard error, from the `Meter` that the work counts in.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO, TYPE_CHECKING

import anyio
from anyio import to_thread

from forensics_core._internal.tasks import task_group
from forensics_core.cli.render import clean_message, counted, duration, size
from forensics_core.pipeline.meter import Meter

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

LINE_INTERVAL = 5.0
"""Seconds between two lines in a pipe."""
REFRESHES = 8
"""Pictures a second on a terminal."""
_LONG_BAR = 16
"""Columns of the bar, where the terminal is wide enough; `_SHORT_BAR` where it is not."""
_SHORT_BAR = 4


@asynccontextmanager
async def progress(
    meter: Meter,
    title: str,
    *,
    quiet: bool = False,
    console: Console | None = None,
    interval: float = LINE_INTERVAL,
) -> AsyncIterator[None]:
    """Show `meter` while the block runs, and once more at its end.

    `title` says what is going on: `Capturing`. `console` is the standard error unless given;
    `interval` is for pipes, in seconds.
    """
    if quiet:
        yield
        return
    if console is None and not may_be_terminal():
        async with _lines(meter, title, sys.stderr, interval):
            yield
        return
    # In a thread, because rich looks at the file system when it is loaded.
    screen: Console = console if console else await to_thread.run_sync(standard_error)
    # A dumb terminal, as in Emacs, has no cursor that could go back to redraw anything.
    bar = screen.is_terminal and not screen.is_dumb_terminal
    async with _bar(meter, title, screen) if bar else _lines(meter, title, screen.file, interval):
        yield


def may_be_terminal() -> bool:
    """Whether the standard error may be a terminal.

    To be sure takes rich, which takes a tenth of the command's start to load.
    """
    told = os.environ.keys() & {"FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}
    return sys.stderr.isatty() or bool(told)


def standard_error() -> Console:
    """Return the standard error, as rich writes to it; call it in a thread."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False, markup=False, emoji=False)


@asynccontextmanager
async def _bar(meter: Meter, title: str, console: Console) -> AsyncIterator[None]:
    """Redraw in a thread of rich's own: a stopped terminal must not stop the capture."""
    live = await to_thread.run_sync(_live, meter, title, console)
    with live:
        yield


def _live(meter: Meter, title: str, console: Console) -> Live:
    from rich.live import Live

    return Live(
        get_renderable=lambda: _bar_row(meter, title, console.width),
        console=console,
        refresh_per_second=REFRESHES,
        # Rich would move what is printed meanwhile to its own console, the standard error.
        redirect_stdout=False,
        redirect_stderr=False,
    )


def _bar_row(meter: Meter, title: str, width: int) -> RenderableType:
    """Return a line with the bar and, whatever its length, what is under way beneath it."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    done, total = _done_of_total(meter)
    numbers = figures(meter)
    room = max(_SHORT_BAR, min(_LONG_BAR, width - len(title) - len(numbers) - 3))
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True, min_width=len(title))
    grid.add_column(width=room)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    # Without a total it runs to and fro: nobody knows the size of a live source before.
    bar = ProgressBar(total=total, completed=done, width=room, pulse=total is None)
    grid.add_row(Text(title, style="bold"), bar, Text(numbers))
    return Group(grid, Text(current)) if (current := current_work(meter)) else grid


def _done_of_total(meter: Meter) -> tuple[float, float | None]:
    """Return how much is done of how much: bytes where their number is known, else artifacts."""
    if meter.bytes_total:
        return meter.bytes_read, meter.bytes_total
    return meter.artifacts_done, meter.artifacts_total or None


@asynccontextmanager
async def _lines(meter: Meter, title: str, out: IO[str], interval: float) -> AsyncIterator[None]:
    async with task_group() as tasks:
        tasks.start_soon(_print_lines, meter, title, out, interval)
        yield
        tasks.cancel_scope.cancel()
    # Once more: the last one of the interval does not have the end.
    await _print_line(meter, title, out)


async def _print_lines(meter: Meter, title: str, out: IO[str], interval: float) -> None:
    while True:
        await anyio.sleep(interval)
        await _print_line(meter, title, out)


async def _print_line(meter: Meter, title: str, out: IO[str]) -> None:
    """Print in a thread that may be left behind: nobody may be reading the pipe."""
    line = f"{title}: {figures(meter)}  {current_work(meter)}".rstrip()
    await to_thread.run_sync(_write_line, out, line, abandon_on_cancel=True)


def _write_line(out: IO[str], line: str) -> None:
    out.write(line + "\n")
    out.flush()


def figures(meter: Meter) -> str:
    """Return one line: artifacts, bytes, rate, elapsed time."""
    # Whoever knows all bytes before reads a bundle, where `SHA256SUMS` is an object beside them.
    noun = "object" if meter.bytes_total else "artifact"
    of = f"/{meter.artifacts_total}" if meter.artifacts_total else ""
    done = f"{meter.artifacts_done}{of} {noun}s" if of else counted(meter.artifacts_done, noun)
    read = size(meter.bytes_read)
    if meter.bytes_total:
        read += f" of {size(meter.bytes_total)}"
    return "  ".join([done, read, f"{size(int(meter.rate))}/s", duration(meter.seconds)])


def current_work(meter: Meter) -> str:
    """Return what is being worked on or waited for; nothing once all is done."""
    over = meter.artifacts_total and meter.artifacts_done == meter.artifacts_total
    return "" if over else clean_message(meter.current)
