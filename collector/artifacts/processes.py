"""`processes.json`: every process of the container, as /proc shows it.

Shape: `{"method": "proc", "clockTicks": 100, "processes": [...]}`, one row a process. A value that
may hold any bytes is spelled as in `collector.text`.
"""

from __future__ import annotations

import os

from anyio import to_thread

from collector.artifacts.process import describe
from collector.procfs import Process, companions
from collector.runtime import Unavailable
from collector.scene import Scene
from forensics_core.api.order import ArtifactKind

METHOD = "proc"


async def capture(scene: Scene) -> None:
    """Store what /proc tells of each process; one that ends meanwhile is left out."""
    numbers = await members(scene, ArtifactKind.PROCESSES)
    if not numbers:
        return
    rows = [row for number in numbers if (row := await to_thread.run_sync(read_row, number))]
    content = {"method": METHOD, "clockTicks": os.sysconf("SC_CLK_TCK"), "processes": rows}
    await scene.add_json("processes.json", ArtifactKind.PROCESSES, content, method=METHOD)


async def members(scene: Scene, kind: ArtifactKind) -> list[int]:
    """Return the container's processes; where there are none to see, record why `kind` is missing.

    A container in which nothing runs has no processes: nothing that was asked for is lost.
    """
    try:
        first = await scene.runtime.process(await scene.runtime.inspect(scene.container))
        return await to_thread.run_sync(companions, first)
    except Unavailable as why:
        scene.lacks(kind, why.reason, str(why), requested=why.reason != "NotRunning")
    except FileNotFoundError:
        scene.lacks(kind, "NotRunning", "The container ended during the capture", requested=False)
    return []


def read_row(number: int) -> dict[str, object] | None:
    """Return what /proc tells; of one that tells nonsense, only that."""
    try:
        with Process.open(number) as process:
            return describe(process)
    except OSError:
        return None
    except (ValueError, LookupError) as error:
        return {"pid": number, "unreadable": f"{type(error).__name__}: {error}"}
