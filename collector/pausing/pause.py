"""Containers that stand still while they are captured.

Liveness probes fail meanwhile, and a kubelet may restart a container for that: so a pause is
short, at most `LIMIT`, and its end does not depend on this process: a supervisor
(`collector.pausing.thaw`) pauses and resumes. Should that one be killed instead, we resume at
once::

    async with paused(runtime, containers, seconds=30) as pause:
        ...
    pause.failures
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from collector.node.procfs import HOST_PROC
from collector.pausing.thaw import THAWING, thaw
from collector.runtimes.endpoints import ENDPOINT
from collector.runtimes.runtime import ContainerInfo, Runtime
from forensics_core._internal import children
from forensics_core._internal.tasks import task_group

LIMIT = 60.0
"""Seconds that containers are held still at most; the capture goes on without that."""

_NEEDED = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", ENDPOINT, HOST_PROC)
"""What leads the supervisor to the same runtime."""

SupervisorLine = dict[str, str]
"""One line of the supervisor's."""


@dataclass(slots=True)
class Pause:
    """How a pause went."""

    failures: dict[str, str] = field(default_factory=dict)
    """What could not be paused, or not be resumed, by ID, and why."""
    ended_early: bool = False
    """Whether the limit, or the supervisor's own end, came before the capture's; known after it."""


@asynccontextmanager
async def paused(
    runtime: Runtime, containers: Sequence[ContainerInfo], seconds: float = LIMIT
) -> AsyncIterator[Pause]:
    """Hold the running ones of `containers` still for the block, `seconds` at most."""
    running = [container for container in containers if container.state == "running"]
    pause = Pause()
    if not running:
        yield pause
        return
    process = await _start(running, seconds)
    words = _words(process)
    try:
        async with task_group() as tasks:
            await _listen(words, pause)
            tasks.start_soon(_resume_when_killed, process, runtime, running, pause)
            yield pause
            tasks.cancel_scope.cancel()
    finally:
        with anyio.move_on_after(2 * THAWING, shield=True):
            await _end(process, words, pause)
            pause.failures |= await thaw(runtime, running)


async def _start(running: Sequence[ContainerInfo], seconds: float) -> Process:
    ids = [container.container_id for container in running]
    return await children.start(
        # -P: what lies in the folder that we were started in is not to be imported.
        [sys.executable, "-P", "-m", "collector.pausing.thaw", str(seconds), *ids],
        env=children.environment(_NEEDED),
        stdin=subprocess.PIPE,
        stderr=None,
    )


async def _resume_when_killed(
    process: Process, runtime: Runtime, running: Sequence[ContainerInfo], pause: Pause
) -> None:
    """Resume as soon as the supervisor has ended: if it was killed, nobody else would in time."""
    await process.wait()
    pause.failures |= await thaw(runtime, running)


async def _listen(said: AsyncIterator[SupervisorLine], pause: Pause) -> None:
    """Wait until everything that can be paused is."""
    async for words in said:
        if words["event"] == "ready":
            return
        if words["event"] == "limit":
            pause.ended_early = True
            return
        pause.failures[words["container"]] = words["message"]
    pause.failures[""] = "The supervisor of the pause ended at once"


async def _end(process: Process, said: AsyncIterator[SupervisorLine], pause: Pause) -> None:
    """Let the supervisor resume, and find out whether it had to do so before."""
    pause.ended_early |= process.returncode is not None
    if process.stdin:
        await process.stdin.aclose()
    async for words in said:
        pause.ended_early |= words["event"] == "limit"
    await process.aclose()


async def _words(process: Process) -> AsyncIterator[SupervisorLine]:
    if process.stdout is None:
        return
    rest = ""
    async for text in TextReceiveStream(process.stdout):
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            yield json.loads(line)
