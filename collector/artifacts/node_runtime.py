"""`node/runtime.json`: what runtime, kubelet and kernel of the node say about the pod.

Shape: `{"method": "logs", "events": [...], "nodeLog": [...], "kernelLog": {...}}`. Events are those
that the runtime remembers of the last minutes; lines of the node's logs are those that name the pod
or a container of it; the kernel's log is whole, or what those logs have of it. What cannot be had
is null, and a gap.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from collector.artifacts.node_capture import TIMEOUT, NodeCapture
from collector.documents import document
from collector.node.abandonable import run_abandonable
from collector.node.kernel_log import kernel_log
from collector.node.node_log import NodeLog, find_kernel_lines, find_lines
from collector.node.tables import reason
from collector.runtimes.runtime import Unavailable
from forensics_core.api.order import ArtifactKind
from forensics_core.errors import ForensicsError

RUNTIME = "runtime.json"
SECONDS = 900
"""How far back the runtime is asked for its events."""


async def write_runtime(node: NodeCapture) -> None:
    """Store what there is; each part that cannot be had is a gap of its own."""
    parts: dict[str, Callable[[NodeCapture], Awaitable[Any]]] = {
        "events": _events,
        "nodeLog": _node_log,
        "kernelLog": _kernel_log,
    }
    content: dict[str, Any] = {"method": "logs"}
    for name, read in parts.items():
        try:
            content[name] = await read(node)
        except (ForensicsError, OSError) as error:
            content[name] = None
            why = error.reason if isinstance(error, Unavailable) else "Unreadable"
            why = reason(error) if isinstance(error, OSError) else why
            node.record_gap(f"{RUNTIME}, {name}", why, str(error))
    data = document(content).decode()
    await node.add(RUNTIME, ArtifactKind.PROCESSES, [data], "logs")


async def _events(node: NodeCapture) -> dict[str, Any]:
    told = await node.runtime.events(node.containers, SECONDS)
    if told.cut:
        message = "The runtime remembers a number of events only, of all containers: older ones"
        node.record_gap(f"{RUNTIME}, older events", "TooMany", f"{message} may be missing")
    return {"seconds": SECONDS, "rows": [json.loads(line) for line in told.lines.splitlines()]}


async def _node_log(node: NodeCapture) -> list[dict[str, Any]]:
    machine = node.runtime.machine
    if machine is None:
        raise Unavailable("The runtime's machine is another one", reason="Remote")
    look = find_lines, machine, node.words, _began(node)
    found = await run_abandonable(TIMEOUT, "logs of the node", *look)
    _account(node, "nodeLog", found)
    if not found.files:
        message = "The node has no journal and no files of logs where these are looked for"
        raise Unavailable(message, reason="NotSupported")
    return found.files


async def _kernel_log(node: NodeCapture) -> dict[str, Any]:
    """Return the kernel's lines, as its buffer has them, or else as the node's logs do."""
    try:
        told = await run_abandonable(TIMEOUT, "the kernel's log", kernel_log)
    except OSError:
        machine = node.runtime.machine
        if machine is None:
            raise
        look = find_kernel_lines, machine, _began(node)
        found = await run_abandonable(TIMEOUT, "logs of the node", *look)
        if not found.files:
            raise
        _account(node, "kernelLog", found)
        # In a Job, whose seccomp profile and devices leave no other way to them.
        return {"source": "nodeLog", "files": found.files}
    if told.lost:
        message = "The newest of the kernel's buffer is kept; other lines were in it"
        node.record_gap(f"{RUNTIME}, kernelLog, its rest", "TooLarge", message)
    return {"source": told.source, "rows": told.rows}


def _began(node: NodeCapture) -> float:
    """Return since when lines may be about the pod."""
    return min((each.made for each in node.containers), default=0.0)


def _account(node: NodeCapture, what: str, found: NodeLog) -> None:
    """Record what was not looked through."""
    for path, why in found.unreadable.items():
        node.record_gap(f"{RUNTIME}, {path}", "Unreadable", why)
    if found.older.total:
        message = f"Lines about the pod may be in what was not looked through: {found.older}"
        node.record_gap(f"{RUNTIME}, {what}, older lines", "TooLarge", message)
