"""`execs.json`: what was started in the container from outside, by exec or by entering it.

Shape: `{"method": "engine-api", "execs": [{"id": "4f2a...", "pid": 4711, "running": true,
"terminal": true, "command": ["sh"], "user": null, "said": {...}, "process": {...}}]}`. `said` is
all that the runtime says; `process` what /proc says of the session's first process: its command,
terminal, time and parent. One that the runtime knows nothing of has `id: null`: somebody entered
the container's namespaces without it. Where the runtime says nothing at all the method is `proc`.
"""

from __future__ import annotations

from typing import Any

from collector.container import ContainerCapture
from collector.runtimes.runtime import RuntimeProcesses, shortened_words
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.layout import EXECS

_KEPT = ("cmdline", "comm", "ppid", "terminal", "session", "startTime", "uid", "loginUid")
METHOD = "engine-api"


def summary(row: dict[str, Any]) -> dict[str, Any]:
    """Return what of a process's row tells who entered, and to do what.

    Of a long command only the beginning: the row has more.
    """
    found = {name: row[name] for name in _KEPT if name in row}
    words, whole = shortened_words(found.get("cmdline"))
    return found | {"cmdline": words} | ({} if whole else {"cmdlineTruncated": True})


async def store(
    capture: ContainerCapture, told: RuntimeProcesses, entered: dict[int, dict[str, Any]]
) -> None:
    """Store the sessions, those the runtime knows first; nothing where there is none.

    `entered` are the processes that were started from outside, each with its summary.
    """
    # The number of one that has ended may be another process's by now.
    known = {row.get("pid") for row in told.execs if row.get("running")}
    rows = [
        {**row, "process": entered.get(row.get("pid") or 0) if row.get("running") else None}
        for row in told.execs
    ]
    rows += [_unknown(pid, row) for pid, row in entered.items() if pid not in known]
    if rows:
        method = METHOD if told.execs else "proc"
        await capture.add_json(
            EXECS, ArtifactKind.PROCESSES, {"method": method, "execs": rows}, method=method
        )


def _unknown(pid: int, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": None,
        "pid": pid,
        "running": True,
        "terminal": row.get("terminal") is not None,
        "command": row.get("cmdline"),
        "user": None,
        "said": None,
        "process": row,
    }
