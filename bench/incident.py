"""`python -m bench.incident`: many pods of one incident, with a collector that does nothing.

The installed commands ask for all of them and follow them, an operator with its default settings
captures them; the cluster and the collectors are this process, the storage is another one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

import anyio
import click
from anyio import to_thread

from bench.operator import KEEP, OperatorProcess
from bench.operator_world import PODS_PER_NODE, world
from bench.page import GOAL_COLUMNS, Goal, goal, table
from bench.part import part_options, run_part
from bench.sink import RemoteSink, remote_sink
from forensics_core.storage.s3.client import S3Access
from forensics_loopback import READS, WATCHES, LoopbackCluster
from lab.process import LabError

PODS, QUICK = 100, 12
"""Pods of the incident, ten a node."""
PLACES = 3
"""Captures of a node at once: the operator's default."""
_LIMIT = Goal("seconds until all pods may be killed", 15)


@dataclass(frozen=True, slots=True)
class IncidentTimes:
    """How long it took, in seconds from the start of the command that asked."""

    pods: int
    asked: float
    """Until the cluster had accepted all requests, and the command had ended."""
    captured: float
    """Until all pods might be killed."""
    sealed: float
    """Until the last bundle was sealed, and the command that follows them had ended."""
    cpu: float
    """Of all processes together, in seconds; that of starting them included."""
    writes: float
    """Of the operator, for each pod."""
    most_at_once: int
    """Captures that were under way on one node at a time, at most."""
    load: float
    """Of the machine, just before."""


@click.command()
@part_options("A few pods")
def main(quick: bool, docs: Path | None) -> None:
    """Measure an incident of many pods, and write a table."""

    def measure(folder: Path) -> dict[str, str]:
        with remote_sink(KEEP) as sink:
            times = anyio.run(_measure, sink, folder, QUICK if quick else PODS)
        # Once all of them have ended, and were waited for.
        return blocks(replace(times, cpu=_cpu()))

    run_part("performance.md", measure, quick=quick, docs=docs)


def blocks(times: IncidentTimes) -> dict[str, str]:
    """Return the generated parts of the page by the names of their markers."""
    nodes, cpus = -(-times.pods // PODS_PER_NODE), len(os.sched_getaffinity(0))
    return {
        "incident-setting": (
            f"Measured on {datetime.now(UTC):%Y-%m-%d} on {cpus} CPUs with {times.pods} pods on "
            f"{nodes} nodes. The load was {times.load:.1f} just before."
        ),
        "incident": table(GOAL_COLUMNS, _goals(times)),
    }


def _goals(times: IncidentTimes) -> Iterator[list[str]]:
    yield goal(_LIMIT, times.captured)
    yield goal(Goal("API writes a checkpoint", 10), times.writes)
    yield goal(Goal("captures of a node at once, at most", PLACES), times.most_at_once)
    yield ["seconds until all were asked for", "", f"{times.asked:.2f}", ""]
    yield ["seconds until all were sealed", "", f"{times.sealed:.2f}", ""]
    yield ["CPU seconds of all processes together", "", f"{times.cpu:.2f}", ""]


async def _measure(sink: RemoteSink, folder: Path, pods: int) -> IncidentTimes:
    access = S3Access(
        endpoint_url=sink.endpoint,
        region="us-east-1",
        access_key_id="lab",
        secret_access_key="lab",  # noqa: S106
    )
    load = os.getloadavg()[0]
    async with world(access, pods) as cluster:
        kubeconfig = await cluster.kubeconfig(folder / "kubeconfig")
        start = OperatorProcess(sink, folder, kubeconfig, captures_per_node=PLACES)
        async with start.operator(cluster):
            return await _incident(cluster, kubeconfig, pods, load)


async def _incident(
    cluster: LoopbackCluster, kubeconfig: Path, pods: int, load: float
) -> IncidentTimes:
    watch = CapturesWatch(pods)
    cluster.records.clear()
    began = time.monotonic()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.follow, cluster)
        # Of more the collector's stand-in stores nothing.
        asking = ("checkpoint", "--all", "--yes", "--artifact", "context")
        await to_thread.run_sync(_forensics, asking, kubeconfig)
        asked = time.monotonic()
        await to_thread.run_sync(_forensics, ("status", "--watch"), kubeconfig)
        sealed = time.monotonic()
    return IncidentTimes(
        pods=pods,
        asked=asked - began,
        captured=watch.captured - began,
        sealed=sealed - began,
        cpu=0.0,
        writes=_writes(cluster) / pods,
        most_at_once=watch.most_at_once,
        load=load,
    )


def _writes(cluster: LoopbackCluster) -> int:
    """Count the operator's writes; those about the Lease are left out, as is what people asked."""
    others = {*READS, *WATCHES}
    return sum(
        count
        for what, count in cluster.records.counts().items()
        if what.split(" ")[0] not in others
        and not what.endswith(" leases")
        and what != "create podcheckpoints"
    )


def _cpu() -> float:
    used = [getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class CapturesWatch:
    """Sees when the last pod may be killed, and how many of a node are captured at once."""

    def __init__(self, pods: int) -> None:
        self._pods = pods
        self.captured = 0.0
        self.most_at_once = 0

    async def follow(self, cluster: LoopbackCluster) -> None:
        """Look at every change until all may be killed."""
        await cluster.until("podcheckpoints", lambda _: self._all(cluster))
        self.captured = time.monotonic()

    def _all(self, cluster: LoopbackCluster) -> bool:
        nodes: dict[str, int] = {}
        captured = 0
        for item in cluster.list("podcheckpoints"):
            status = item.get("status", {})
            phase = status.get("phase")
            captured += phase in {"Sealing", "Complete"}
            if phase == "Capturing":
                nodes[status["node"]] = nodes.get(status["node"], 0) + 1
        self.most_at_once = max([self.most_at_once, *nodes.values()])
        return captured == self._pods


def _forensics(arguments: Sequence[str], kubeconfig: Path) -> None:
    """Run the installed command, as anybody would type it. Raises `LabError` if it fails."""
    program = Path(sys.executable).with_name("forensics")
    done = subprocess.run(
        [program, "incident", "INC-7", *arguments, "--kubeconfig", kubeconfig],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise LabError(f"forensics incident {arguments[0]} failed: {done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
