"""`logs/stdout.log`, `logs/stderr.log`, or `logs/console.log` of a container with a terminal.

Each line begins with its time, RFC 3339 with nanoseconds, as the runtime recorded it. Of a CRI
runtime its own files are stored, as they are: `logs/0.log`, and those of former starts and rotated
ones, in which the stream's name follows the time.
"""

from __future__ import annotations

from collector.runtimes.runtime import LogStream, Unavailable
from collector.scene import Scene
from forensics_core.api.order import ArtifactKind
from forensics_core.evidence.layout import fit

MAX_FILES = 64
"""Logs of one container, the newest ones, that are captured."""


async def capture(scene: Scene) -> None:
    """Store every log; one that the runtime cannot give back is recorded as missing."""
    streams = scene.container.log_streams
    if not streams:
        message = "The runtime keeps no log of this container"
        scene.lacks(ArtifactKind.LOGS, "NoLog", message, requested=False)
    if len(streams) > MAX_FILES:
        message = f"Only the newest {MAX_FILES} of {len(streams)} files are captured"
        scene.lacks("logs, older files", "TooLarge", message)
    for stream in streams[-MAX_FILES:]:
        try:
            await _one(scene, stream)
        except Unavailable as why:
            scene.lacks(f"logs, {stream}", why.reason, str(why))


async def _one(scene: Scene, stream: str) -> None:
    engine = isinstance(stream, LogStream)
    async with scene.runtime.logs(scene.container, stream) as blocks:
        await scene.add(
            f"logs/{stream}.log" if engine else f"logs/{fit(stream)}",
            ArtifactKind.LOGS,
            blocks,
            method="engine-api" if engine else "file",
            media_type="application/gzip" if stream.endswith(".gz") else "text/plain",
        )
