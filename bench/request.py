"""`python -m bench.request`: from a PodCheckpoint to the moment at which its pod may be killed.

On the loopback cluster everything else is real: the operator and the collectors are processes, the
containers are a Docker Engine's. Where KUBECONFIG names a cluster with an operator, the same is
measured there, on pods made for it. One request after the other, each by the steps that its status
tells; then twelve small pods of one node at once, and one pod of many containers.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import anyio
import click

from bench.cat import START
from bench.measure import ScriptCost, measure
from bench.operator import KEEP
from bench.page import Bound, PartResult, measured, table
from bench.part import part_options, run_part
from bench.request_cluster import PATIENCE, RequestCluster, loopback, real
from bench.sink import remote_sink
from forensics_core.api.steps import Step
from forensics_core.checkpoints.cluster import Cluster, connect
from lab.docker import docker_engine
from lab.process import in_thread

LIFE = 600
"""Seconds after which a finished PodCheckpoint goes; what it captured stays."""
Timings = Mapping[str, int]
"""Milliseconds by step."""
KUBERNETES = (Step.SCHEDULING, Step.CONTAINER_START)
"""The steps that are Kubernetes' own."""


@dataclass(frozen=True, slots=True)
class RequestLoad:
    """How much is measured."""

    runs: int = 7
    """Requests, one after the other."""
    pods: int = 12
    """Small pods of one node."""
    containers: int = 20
    """Of the large pod."""


QUICK = RequestLoad(1, 2, 2)


@dataclass(frozen=True, slots=True)
class RequestTimes:
    """What requests took."""

    small: Sequence[Timings]
    walls: Sequence[float]
    """Seconds of each of these, as who asked saw them."""
    node: float
    """Seconds until the small pods of one node, asked for at once, were captured."""
    pods: int
    """How many that were."""
    large: tuple[Timings, float] | None = None
    """The same of the pod with many containers, where there is one."""


@click.command()
@part_options("A few requests")
@click.option(
    "--kubeconfig",
    envvar="KUBECONFIG",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A cluster with an operator, on which it is measured too.  [default: $KUBECONFIG]",
)
@click.option("--to", help="Where captures on that cluster go.  [default: the operator's default]")
def main(quick: bool, docs: Path | None, kubeconfig: Path | None, to: str | None) -> None:
    """Measure what a responder waits for, step by step."""
    load = QUICK if quick else RequestLoad()

    def results(folder: Path) -> list[PartResult]:
        start = measure(START, folder=folder, env={**os.environ, "PYTHON": sys.executable})
        found = [finding(anyio.run(_on_loopback, folder, load), load, start)]
        if kubeconfig:
            there = anyio.run(_on_a_real_one, kubeconfig, load, to)
            found.append(finding(there, load, start, "-real"))
        return found

    run_part("performance.md", results, quick=quick, docs=docs)


async def _on_loopback(folder: Path, load: RequestLoad) -> RequestTimes:
    async with (
        docker_engine() as engine,
        in_thread(remote_sink(KEEP)) as sink,
        loopback(engine, sink, folder, load.pods, load.containers) as cluster,
    ):
        return await measure_requests(cluster, load.runs)


async def _on_a_real_one(kubeconfig: Path, load: RequestLoad, to: str | None) -> RequestTimes:
    async with real(kubeconfig, load.pods) as cluster:
        return await measure_requests(cluster, load.runs, to)


async def measure_requests(
    cluster: RequestCluster, runs: int, to: str | None = None
) -> RequestTimes:
    """Ask for captures, as a script does that uses the library."""
    async with connect(cluster.kubeconfig) as api:
        asking = _Requests(api, cluster.namespace, to)
        small = [await asking.captured(cluster.pods[0]) for _ in range(runs)]
        began = time.monotonic()
        async with anyio.create_task_group() as tasks:
            for pod in cluster.pods:
                tasks.start_soon(asking.captured, pod)
        node = time.monotonic() - began
        large = await asking.captured(cluster.large) if cluster.large else None
    return RequestTimes(
        small=[timings for timings, _ in small],
        walls=[wall for _, wall in small],
        node=node,
        pods=len(cluster.pods),
        large=large,
    )


@dataclass(frozen=True, slots=True)
class _Requests:
    api: Cluster
    namespace: str
    to: str | None

    async def captured(self, pod: str) -> tuple[Timings, float]:
        """Ask for a capture; return what each step took once the pod may be killed, and all."""
        began = time.monotonic()
        with anyio.fail_after(PATIENCE):
            asked = await self.api.checkpoint(
                pod, namespace=self.namespace, to=self.to, ttl=LIFE, reason="bench"
            )
            await asked.captured(sealed=False)
        wall = time.monotonic() - began
        timings = (await asked.refresh()).timings
        return {each.step: each.milliseconds for each in timings}, wall


def finding(
    times: RequestTimes, load: RequestLoad, start: ScriptCost, where: str = ""
) -> PartResult:
    """Return the table, for the markers of a cluster; `start` is what Python's own start takes."""
    about = (
        f"{measured(len(times.small))}, of a pod with one container and almost nothing in it. "
        f"{times.pods} such pods of one node, asked for at once, took {times.node:.2f} s. Seconds."
    )
    columns = ["step", "median", "most"]
    if times.large is not None:
        columns.append(f"{load.containers} containers")
    goals = {f"request{where}": median(times.walls), f"request{where}-node": times.node}
    own = median(sum(each.get(step, 0) for step in KUBERNETES) / 1000 for each in times.small)
    starts = times.pods * start.cpu / (os.cpu_count() or 1)
    best = {
        f"request{where}": Bound(own + start.wall, "Kubernetes' own steps, and Python's start"),
        f"request{where}-node": Bound(starts, f"{times.pods} starts of Python, on all cores"),
    }
    text = f"{about}\n\n{table(columns, _rows(times))}"
    return PartResult(f"request{where}", text, goals, best)


def _rows(times: RequestTimes) -> Iterator[list[str]]:
    timings, wall = times.large or ({}, None)
    for step in Step:
        took = [each.get(step, 0) / 1000 for each in times.small]
        yield _row(f"`{step}`", took, timings.get(step, 0) / 1000 if times.large else None)
    whole = [sum(each.values()) / 1000 for each in times.small]
    yield _row("all", whole, sum(timings.values()) / 1000 if times.large else None)
    yield _row("as who asked saw it", times.walls, wall)


def _row(what: str, took: Sequence[float], large: float | None) -> list[str]:
    """Return a row; without a large pod, without its cell."""
    cells = [what, f"{median(took):.2f}", f"{max(took):.2f}"]
    return cells if large is None else [*cells, f"{large:.2f}"]


if __name__ == "__main__":
    main()
