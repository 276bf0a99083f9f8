"""`logs/`: the files that the runtime writes the container's output to, as they are.

Current, of former starts, and rotated ones, packed or not (method `file`). Of a CRI runtime they
keep their names: `0.log`. Of the Docker Engine they are `json-file.log`, `local.log`, `cached.log`,
by the driver that wrote them. Only where no file can be reached the engine's own answer takes their
place (method `engine-api`): `stdout.log`, `stderr.log`, or `console.log` of a container with a
terminal, in which each line begins with its time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from collector.files.logfiles import LogFile, LogFiles, reason
from collector.runtimes.runtime import LogStream, Unavailable
from collector.scene import Scene
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import Findings

SHARE = 0.1
"""Of the time until the deadline, for comparing the files with the engine's answer."""
_LOST = "It may end early at damaged places, and has times in the middle of lines over 16 KiB"


async def capture(scene: Scene) -> None:
    """Store every log; what cannot be read is recorded as missing."""
    try:
        async with scene.log_files() as logs:
            if logs.files or logs.failures:
                await _from_the_node(scene, logs)
                return
    except Unavailable as why:
        await _from_the_runtime(scene, why)
        return
    await _without_files(scene)


async def _from_the_node(scene: Scene, logs: LogFiles) -> None:
    if (left := logs.total - len(logs.files) - len(logs.failures)) > 0:
        message = f"Only the newest {logs.total - left} of {logs.total} files are captured"
        scene.lacks("logs, older files", "TooLarge", message)
    for name, error in logs.failures:
        message = f"The log {name} cannot be read on the node: {error.strerror}"
        scene.lacks(f"logs, {name}", reason(error), message)
    difference = ""
    with scene.stop.scope(scene.part(SHARE)):
        difference = await scene.runtime.compare_logs(scene.container, logs)
    for file in logs.files:
        await _store(scene, file, difference if file is logs.files[-1] else "")


async def _store(scene: Scene, file: LogFile, difference: str) -> None:
    """Store one file; `difference`, if there is any, goes with it."""
    findings, read = Findings(), _Counted(file)
    if difference:
        findings.flags.add(Flag.RENDERING_DIFFERS)
        findings.remark(file.name, difference)
    in_time = await scene.add(
        f"logs/{file.name}",
        ArtifactKind.LOGS,
        read.blocks(findings),
        method="file",
        media_type=file.media_type,
        findings=findings,
    )
    if in_time and read.size < file.size:
        message = f"{file.name} was truncated while it was read: {read.size} of {file.size} bytes"
        scene.lacks(f"logs, {file.name}, its rest", "Truncated", message)


class _Counted:
    """A log, and how much of it came."""

    def __init__(self, file: LogFile) -> None:
        self._file = file
        self.size = 0

    async def blocks(self, findings: Findings) -> AsyncIterator[bytes]:
        """Yield the blocks; at the end it is noted if there were too few."""
        async for block in self._file.blocks():
            self.size += len(block)
            yield block
        if self.size < self._file.size:
            findings.flags.add(Flag.CHANGED_WHILE_READ)


async def _without_files(scene: Scene) -> None:
    if not scene.container.log_streams:
        message = "The runtime keeps no log of this container"
        scene.lacks(ArtifactKind.LOGS, "NoLog", message, requested=False)
    elif scene.container.state == "created":  # it never wrote anything
        await _all_streams(scene)
    else:
        message = "The logging driver keeps no file for the container"
        await _from_the_runtime(scene, Unavailable(message, reason="NotSupported"))


async def _from_the_runtime(scene: Scene, why: Unavailable) -> None:
    if not scene.container.log_streams:
        raise why
    await _all_streams(scene)
    message = f"As the runtime itself shows them. {_LOST}. Not read from the node: {why}"
    scene.lacks("details of the logs", why.reason, message, requested=False)


async def _all_streams(scene: Scene) -> None:
    for stream in scene.container.log_streams:
        try:
            await _stream(scene, stream)
        except Unavailable as why:
            scene.lacks(f"logs, {stream}", why.reason, str(why))


async def _stream(scene: Scene, stream: LogStream) -> None:
    async with scene.runtime.logs(scene.container, stream) as blocks:
        await scene.add(
            f"logs/{stream}.log",
            ArtifactKind.LOGS,
            blocks,
            method="engine-api",
            media_type="text/plain",
            findings=Findings(flags={Flag.REDUCED_FIDELITY}),
        )
