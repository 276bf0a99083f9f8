"""The supervisor of a pause: a process of its own that freezes containers and surely thaws them.

`python -m collector.pausing.thaw SECONDS ID...` pauses the containers, says so on standard output,
one JSON object a line, and resumes them when its standard input closes or the time is up, whichever
comes first; the time begins with the first pause. The input is a pipe that only the capture holds:
it closes however that ends, kill -9 included.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

import anyio

from collector.runtimes.opening import open_runtime
from collector.runtimes.runtime import ContainerInfo, Runtime, split_reference
from forensics_core.errors import ContainerGone, ForensicsError

THAWING = 20.0
"""Seconds that resuming may take."""


def main(arguments: Sequence[str]) -> None:
    """Pause, wait, resume."""
    seconds, *references = arguments
    anyio.run(_supervise, float(seconds), references)


async def _supervise(seconds: float, references: Sequence[str]) -> None:
    frozen: list[ContainerInfo] = []
    async with open_runtime(split_reference(references[0])[0], references[0]) as runtime:
        try:
            with anyio.move_on_after(seconds) as scope:
                for reference in references:
                    await _freeze(runtime, reference, frozen)
                _write_line(event="ready")
                await _until_closed()
        finally:
            with anyio.move_on_after(THAWING, shield=True):
                for container, why in (await thaw(runtime, frozen)).items():
                    _write_line(event="stuck", container=container, message=why)
    if scope.cancelled_caught:
        _write_line(event="limit")


async def _freeze(runtime: Runtime, reference: str, frozen: list[ContainerInfo]) -> None:
    """Pause one container; it is remembered before, so that it is resumed in any case."""
    try:
        container = await runtime.find(reference)
        frozen.append(container)
        await runtime.pause(container)
    except ForensicsError as error:
        _write_line(event="failed", container=reference, message=str(error))


async def thaw(runtime: Runtime, frozen: Sequence[ContainerInfo]) -> dict[str, str]:
    """Resume the containers that are paused; return which could not be, by ID, and why."""
    stuck = {}
    for container in frozen:
        try:
            if (await runtime.inspect(container)).state == "paused":
                await runtime.resume(container)
        except ContainerGone:
            continue
        except ForensicsError as error:
            stuck[container.container_id] = str(error)
    return stuck


async def _until_closed() -> None:
    """Wait for the end of the standard input, a pipe."""
    await anyio.wait_readable(0)
    while os.read(0, 4096):
        await anyio.wait_readable(0)


def _write_line(**words: str) -> None:
    """Write a line; nobody may be listening any more."""
    try:
        os.write(1, json.dumps(words).encode() + b"\n")
    except OSError:
        return


if __name__ == "__main__":
    main(sys.argv[1:])
