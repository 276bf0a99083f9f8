"""Progress as JSON lines on the standard output, for whoever follows the Job's log.

::

    async with progress_logged(meter):
        ...

    {"event":"progress","artifactsDone":3,"artifactsTotal":8,"bytesRead":4194304,...}

Nobody may be reading: a line that would have to wait is left out.
"""

from __future__ import annotations

import json
import os
import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from anyio import to_thread

from forensics_core._internal.tasks import task_group
from forensics_core.pipeline.meter import Meter

STDOUT = 1
EVERY = 1.0
"""Seconds between two lines, at least."""
LAST_LINE = 2.0
"""Seconds that the last line waits for room at most."""
_PAUSE = 0.05
_LONGEST_NAME = 253


@asynccontextmanager
async def progress_logged(
    meter: Meter, descriptor: int = STDOUT, interval: float = EVERY
) -> AsyncIterator[None]:
    """Say how far `meter` is while the block runs, when it moved, and once more at its end."""
    async with task_group() as tasks:
        tasks.start_soon(_log_progress, meter, descriptor, interval)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()
            with anyio.move_on_after(LAST_LINE, shield=True):
                await _write_all(progress_line(meter), descriptor)


def progress_line(meter: Meter) -> bytes:
    """Return the line that says what `meter` shows; it begins with `{"event":"progress",`."""
    said = {
        "event": "progress",
        "artifactsDone": meter.artifacts_done,
        "artifactsTotal": meter.artifacts_total,
        "bytesRead": meter.bytes_read,
        "bytesStored": meter.bytes_stored,
        "current": meter.current[:_LONGEST_NAME],
    }
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"


def write_line(line: bytes, descriptor: int = STDOUT) -> bool:
    """Write `line` if that needs no waiting; return whether it is settled.

    A pipe that is ready takes `PIPE_BUF` bytes, 4096, at once, and a line is never longer. Where
    nobody listens any more, nothing is left to say.
    """
    if not select.select([], [descriptor], [], 0)[1]:
        return False
    with suppress(OSError):
        os.write(descriptor, line)
    return True


async def _log_progress(meter: Meter, descriptor: int, interval: float) -> None:
    said = b""
    while True:
        line = progress_line(meter)
        if line != said and await to_thread.run_sync(write_line, line, descriptor):
            said = line
        await anyio.sleep(interval)


async def _write_all(line: bytes, descriptor: int) -> None:
    while not await to_thread.run_sync(write_line, line, descriptor):  # noqa: ASYNC110 - not every output can be waited for
        await anyio.sleep(_PAUSE)
