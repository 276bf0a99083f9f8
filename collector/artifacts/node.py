"""`node/...`: what the node says that a container cannot. Once a capture, of no container.

`kernel.json`: the kernel's version, command line, taint, guards and settings, and its modules by
three ways, with where these do not agree. `ebpf.json`: programs, maps and links, with the processes
that hold them. Both are of the kind `processes`, as is `runtime.json` (`node_runtime`); the
network's are in `node_network`.

All of it is what this node's kernel and programs say: who owns the node can have them say anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from itertools import chain
from typing import Any

from collector.artifacts import node_network
from collector.artifacts.node_capture import TIMEOUT, NodeCapture
from collector.artifacts.node_runtime import RUNTIME, write_runtime
from collector.container import ContainerCapture
from collector.documents import BoundedNames, document
from collector.node import ebpf, kernel, modules
from collector.node.abandonable import run_abandonable
from collector.node.holders import find_holders
from collector.node.members import find_members
from collector.node.modules import WAYS
from collector.node.netlink_fields import NetlinkRow
from collector.node.network_tables import SYMBOLS
from collector.node.tables import Tables
from forensics_core._internal.tasks import task_group
from forensics_core.api.order import ArtifactKind, PodRef

KERNEL, EBPF = "kernel.json", "ebpf.json"
_STILL = (
    "Nothing runs: what the node's kernel, network, runtime and logs say of the containers is not "
    "captured"
)
_SORTS = {"programs": "program", "maps": "map", "links": "link"}


def files(wanted: Sequence[ArtifactKind], running: int) -> int:
    """Return how many files these kinds of evidence make, of a pod with so many containers up."""
    if not running:
        return 0
    of_processes = (KERNEL, EBPF, RUNTIME) if ArtifactKind.PROCESSES in wanted else ()
    of_network = node_network.FILES if ArtifactKind.NETWORK in wanted else ()
    return len((*of_processes, *of_network))


async def collect(
    captures: Sequence[ContainerCapture],
    wanted: Sequence[ArtifactKind],
    pod: PodRef | None = None,
) -> None:
    """Store what was asked for of the node that these containers run on.

    Only a gap where nothing runs, or where the node is not this machine.
    """
    running = [capture for capture in captures if capture.container.pid is not None]
    if not captures or {ArtifactKind.PROCESSES, ArtifactKind.NETWORK}.isdisjoint(wanted):
        return
    keys = (capture.container.key for capture in captures)
    of_pod = (pod.uid, f"{pod.namespace}/{pod.name}") if pod else ()
    containers = tuple(capture.container for capture in captures)
    node = NodeCapture(running or captures, (*keys, *of_pod), containers)
    if not running:
        node.record_gap("", "NotRunning", _STILL)
    elif node.runtime.machine is None:
        node.record_gap("", "Remote", "The containers run on another machine")
    else:
        await _collect(node, wanted)
    node.bundle.meter.artifacts_total -= files(wanted, len(running)) - node.added


async def _collect(node: NodeCapture, wanted: Sequence[ArtifactKind]) -> None:
    """Look at the modules before anything is asked of the kernel that could load one."""
    async with task_group() as tasks:
        tasks.start_soon(node.attempt, "modules", _look_at_modules)
        tasks.start_soon(node.attempt, "holders", look_at_holders)
    if ArtifactKind.NETWORK in wanted:
        await node_network.collect(node)
    if ArtifactKind.PROCESSES in wanted:
        await node.attempt(EBPF, write_ebpf)
        await node.attempt(RUNTIME, write_runtime)
        await node.attempt(KERNEL, write_kernel)


async def _look_at_modules(node: NodeCapture) -> None:
    node.modules = await run_abandonable(TIMEOUT, "modules", modules.read_modules, SYMBOLS)


async def look_at_holders(node: NodeCapture) -> None:
    """Look who has which socket open, and which program; the pod's own processes first."""
    spaces = chain.from_iterable(capture.namespaces.values() for capture in node.captures)
    first = [*chain.from_iterable(spaces)]
    node.holders = await run_abandonable(TIMEOUT, "open files", find_holders, first, node.links)
    if node.holders.unseen:
        message = f"Of {node.holders.unseen} processes not all open files were looked at"
        node.record_gap("holders of sockets and programs", "TooMany", message)


async def write_kernel(node: NodeCapture) -> None:
    """Store what the kernel says of itself and of its modules."""
    found = await run_abandonable(TIMEOUT, KERNEL, _describe, node)
    await node.add(KERNEL, ArtifactKind.PROCESSES, [document(found).decode()], "proc")
    told = node.modules
    if any(told.found.values()):
        for way, why in told.unavailable.items():
            message = f"Modules cannot be compared with what {way} tells: {why}"
            node.record_gap(f"{KERNEL}, modules by {way}", "Unreadable", message)


def _describe(node: NodeCapture) -> dict[str, Any]:
    told = node.modules
    modules.details(told.listed)
    return {
        "method": "proc",
        **kernel.describe_kernel(),
        "modules": {
            "supported": "proc" in told.found or any(told.found.values()),
            "loaded": told.listed,
            "compared": [way for way in WAYS if way in told.found],
            "unavailable": told.unavailable,
            "disagreements": told.disagreements,
            "unexplainedTaint": told.unexplained_taint(kernel.taint()),
        },
    }


async def write_ebpf(node: NodeCapture) -> None:
    """Store programs, maps and links of eBPF."""
    tables, lacking = Tables(node.limit), BoundedNames()
    await run_abandonable(TIMEOUT, EBPF, _read_ebpf, tables, node, lacking)
    cut = bool(tables.cut)
    parts = chain(tables.parts({"method": "bpf"}), "\n")
    await node.add(EBPF, ArtifactKind.PROCESSES, parts, "bpf", cut=cut)
    if cut:
        node.record_gap(f"{EBPF}, its rest", "TooLarge", f"Cut: {', '.join(tables.cut)}")
    for name, (why, message) in tables.missing.items():
        node.record_gap(f"{EBPF}, {name}", why, message)
    if lacking.total:
        message = (
            "Not all that is in these maps of the pod's processes is there, because they are large,"
            f" of a type that is not read, or refuse: {lacking}"
        )
        node.record_gap(f"{EBPF}, values", "TooLarge", message)


def _read_ebpf(tables: Tables, node: NodeCapture, lacking: BoundedNames) -> None:
    ours, held, maps = _members(node), node.holders.objects, set[int]()
    for name, sort in _SORTS.items():
        word = "prog" if sort == "program" else sort
        rows: Iterator[NetlinkRow] = (
            row | {"pids": held.get((word, row["id"]), [])}
            for row in ebpf.objects(sort, with_values=maps)
        )
        if sort == "program":
            # Its maps come next, with values if one of the pod's processes has it, or them.
            maps |= {
                number for (kind, number), pids in held.items() if kind == "map" and ours & {*pids}
            }
            rows = _noting_maps(rows, ours, maps)
        elif sort == "map":
            rows = _noting_values(rows, maps, lacking)
        tables.take(name, rows)


def _noting_maps(
    rows: Iterator[NetlinkRow], ours: Set[int], maps: set[int]
) -> Iterator[NetlinkRow]:
    for row in rows:
        if ours & {*row["pids"]}:
            maps.update(row["maps"])
        yield row


def _noting_values(
    rows: Iterator[NetlinkRow], maps: Set[int], lacking: BoundedNames
) -> Iterator[NetlinkRow]:
    for row in rows:
        if row["id"] in maps and ("values" not in row or "valuesCut" in row):
            lacking.add(f"{row['id']} ({row['type']})")
        yield row


def _members(node: NodeCapture) -> Set[int]:
    """Return the processes of the pod."""
    found = set[int]()
    for capture in node.captures:
        if capture.namespaces:  # they were looked for a moment ago, all over the machine
            found.update(chain.from_iterable(capture.namespaces.values()))
            continue
        with suppress(OSError):
            found.update(find_members(capture.container.pid or 0, capture.container.key))
    return found
