"""`logs/`: the files that the runtime writes the container's output to, as they are.

Current, of former starts, and rotated ones, packed or not (method `file`). Of a CRI runtime they
keep their names: `0.log`. Of the Docker Engine they are `json-file.log`, `local.log`, `cached.log`,
by the driver that wrote them. Only where no file can be reached the engine's own answer takes their
place (method `engine-api`): `stdout.log`, `stderr.log`, or `console.log` of a container with a
terminal, in which each line begins with its time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from collector.container import ContainerCapture
from collector.files.logfiles import LogFile, LogFiles, reason
from collector.runtimes.runtime import LogStream, Unavailable
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import SourceNotes

SHARE = 0.1
"""Of the time until the deadline, for comparing the files with the engine's answer."""
_LOST = "It may end early at damaged places, and has times in the middle of lines over 16 KiB"


async def collect(capture: ContainerCapture) -> None:
    """Store every log; what cannot be read is recorded as missing."""
    try:
        async with capture.log_files() as logs:
            if logs.files or logs.failures:
                await _from_the_node(capture, logs)
                return
    except Unavailable as why:
        await _from_the_runtime(capture, why)
        return
    await _without_files(capture)


async def _from_the_node(capture: ContainerCapture, logs: LogFiles) -> None:
    if (left := logs.total - len(logs.files) - len(logs.failures)) > 0:
        message = f"Only the newest {logs.total - left} of {logs.total} files are captured"
        capture.record_gap("logs, older files", "TooLarge", message)
    if logs.unlisted:
        message = f"There may be logs of former starts, or rotated ones: {logs.unlisted}"
        capture.record_gap("logs, others", "Unreadable", message)
    for name, error in logs.failures:
        message = f"The log {name} cannot be read on the node: {error.strerror}"
        capture.record_gap(f"logs, {name}", reason(error), message)
    difference = ""
    with capture.stop.scope(capture.part(SHARE)):
        difference = await capture.runtime.compare_logs(capture.container, logs)
    for file in logs.files:
        await _store(capture, file, difference if file is logs.files[-1] else "")


async def _store(capture: ContainerCapture, file: LogFile, difference: str) -> None:
    """Store one file; `difference`, if there is any, goes with it."""
    notes, read = SourceNotes(), _Counted(file)
    if difference:
        notes.flags.add(Flag.RENDERING_DIFFERS)
        notes.remark(file.name, difference)
    in_time = await capture.add(
        f"logs/{file.name}",
        ArtifactKind.LOGS,
        read.blocks(notes),
        method="file",
        media_type=file.media_type,
        notes=notes,
    )
    if in_time and read.size < file.size:
        message = f"{file.name} was truncated while it was read: {read.size} of {file.size} bytes"
        capture.record_gap(f"logs, {file.name}, its rest", "Truncated", message)


class _Counted:
    """A log, and how much of it came."""

    def __init__(self, file: LogFile) -> None:
        self._file = file
        self.size = 0

    async def blocks(self, notes: SourceNotes) -> AsyncIterator[bytes]:
        """Yield the blocks; at the end it is noted if there were too few."""
        async for block in self._file.blocks():
            self.size += len(block)
            yield block
        if self.size < self._file.size:
            notes.flags.add(Flag.CHANGED_WHILE_READ)


async def _without_files(capture: ContainerCapture) -> None:
    if not capture.container.log_streams:
        message = "The runtime keeps no log of this container"
        capture.record_gap(ArtifactKind.LOGS, "NoLog", message, requested=False)
    elif capture.container.state == "created":  # it never wrote anything
        await _all_streams(capture)
    else:
        message = "The logging driver keeps no file for the container"
        await _from_the_runtime(capture, Unavailable(message, reason="NotSupported"))


async def _from_the_runtime(capture: ContainerCapture, why: Unavailable) -> None:
    if not capture.container.log_streams:
        raise why
    await _all_streams(capture)
    message = f"As the runtime itself shows them. {_LOST}. Not read from the node: {why}"
    capture.record_gap("details of the logs", why.reason, message, requested=False)


async def _all_streams(capture: ContainerCapture) -> None:
    for stream in capture.container.log_streams:
        try:
            await _stream(capture, stream)
        except Unavailable as why:
            capture.record_gap(f"logs, {stream}", why.reason, str(why))


async def _stream(capture: ContainerCapture, stream: LogStream) -> None:
    async with capture.runtime.logs(capture.container, stream) as blocks:
        await capture.add(
            f"logs/{stream}.log",
            ArtifactKind.LOGS,
            blocks,
            method="engine-api",
            media_type="text/plain",
            notes=SourceNotes(flags={Flag.REDUCED_FIDELITY}),
        )
