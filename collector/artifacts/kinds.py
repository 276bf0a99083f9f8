"""Every kind of artifact that a collector makes of a container, in order of volatility.

A new kind is a module in this folder with `collect(capture)`, and a row here.

Source: https://www.rfc-editor.org/rfc/rfc3227#section-2.1
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from anyio import to_thread

from collector.artifacts import diff, inspect, logs, mounts, network, processes
from collector.container import ContainerCapture
from forensics_core.api.order import ArtifactKind


@dataclass(frozen=True, slots=True)
class KindCapture:
    """How one kind is captured."""

    collect: Callable[[ContainerCapture], Awaitable[None]]
    files: int = 1
    """How many files of the bundle it makes, if nothing goes wrong."""
    cuttable: bool = False
    """Whether a part of it is of use: then it ends by itself when time is up, and is not
    cancelled."""


async def _memory(capture: ContainerCapture) -> None:
    """Load what few ask for, and takes a tenth of the collector's start, when it is asked for."""

    def load() -> Callable[[ContainerCapture], Awaitable[None]]:
        from collector.artifacts import memory

        return memory.collect

    collect = await to_thread.run_sync(load)
    await collect(capture)


KINDS: dict[ArtifactKind, KindCapture] = {
    ArtifactKind.PROCESSES: KindCapture(processes.collect, files=4, cuttable=True),
    ArtifactKind.NETWORK: KindCapture(network.collect),
    # After the tables, which are read in a moment and gone as soon.
    ArtifactKind.MEMORY: KindCapture(_memory, files=2, cuttable=True),
    ArtifactKind.DIFF: KindCapture(diff.collect, cuttable=True),
    # With all that is mounted on top: one tree.
    ArtifactKind.FILESYSTEM: KindCapture(mounts.collect, files=7, cuttable=True),
    # With the file system, where that is captured.
    ArtifactKind.VOLUMES: KindCapture(mounts.collect_volumes, files=0, cuttable=True),
    ArtifactKind.LOGS: KindCapture(logs.collect, cuttable=True),
    ArtifactKind.INSPECT: KindCapture(inspect.collect, files=2),
}
"""In the order in which they are captured."""
