"""`python -m bench.rules`: from an alert to the Job, among many rules and pods.

The operator is a process of its own that takes alerts over HTTPS; the cluster with its pods is this
process, the storage a third one, so all of them share the machine.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import click

from bench.operator import OperatorProcess, memory_of
from bench.operator_world import NAMESPACE, PODS_PER_NODE, world
from bench.page import GOAL_COLUMNS, Goal, goal, table
from bench.part import part_options, run_part
from bench.processes import cpu_seconds
from bench.sink import RemoteSink, remote_sink
from forensics_core.api.capturerule_crd import capturerule_crd
from forensics_core.storage.s3.client import S3Access
from forensics_loopback import LoopbackCluster
from lab.images import MiB
from lab.process import LabError

KEEP = 1 * MiB
TOKEN = "bench-bench-bench-bench"  # noqa: S105 # opens nothing but a benchmark
KIND = capturerule_crd()
AT_ONCE = 32
"""Requests of a burst that are under way at once."""


@dataclass(frozen=True, slots=True)
class RuleLoad:
    """How much is measured."""

    pods: int = 5000
    rules: int = 100
    alerts: int = 30
    """Alerts of different pods, one after the other."""
    burst: int = 1000
    """Alerts of one pod, as fast as they go."""


QUICK = RuleLoad(pods=40, rules=10, alerts=3, burst=50)


@dataclass(frozen=True, slots=True)
class RuleMeasurement:
    """What was measured."""

    load: RuleLoad
    latencies: list[float]
    """Seconds from sending each alert to its Job."""
    burst_seconds: float
    burst_captures: int
    burst_refused: int
    """Alerts of the burst that were not taken: told to come again, or lost."""
    burst_cpu: float
    """Seconds of CPU that the operator used for the burst."""
    peak: int
    """Bytes: the operator's highest resident set."""


@click.command()
@part_options("A few pods and rules")
def main(quick: bool, docs: Path | None) -> None:
    """Measure how long an alert takes to become a Job, and write a table."""

    def measure(folder: Path) -> dict[str, str]:
        with remote_sink(KEEP) as sink:
            return blocks(anyio.run(_measure, sink, folder, QUICK if quick else RuleLoad()))

    run_part("performance.md", measure, quick=quick, docs=docs)


def blocks(measured: RuleMeasurement) -> dict[str, str]:
    """Return the generated parts of the page by the names of their markers."""
    load = measured.load
    return {
        "rules-setting": (
            f"Measured on {datetime.now(UTC):%Y-%m-%d} on {len(os.sched_getaffinity(0))} CPUs, "
            f"with {load.rules} rules and {load.pods:,} pods: {load.alerts} alerts of different "
            f"pods one after the other, then {load.burst:,} of one pod as fast as they go."
        ),
        "rules": table(GOAL_COLUMNS, _goals(measured)),
    }


def _goals(measured: RuleMeasurement) -> Iterator[list[str]]:
    milliseconds = sorted(1000 * seconds for seconds in measured.latencies)
    yield goal(Goal("ms from an alert to its Job, median", 500), statistics.median(milliseconds))
    yield goal(Goal("the same, the longest", 500), milliseconds[-1])
    yield goal(Goal("captures of the burst", 1), measured.burst_captures)
    rate = Goal("alerts a second of the burst", 200, at_least=True)
    yield goal(rate, measured.load.burst / measured.burst_seconds)
    yield goal(Goal("peak MiB of the operator, rules", 150), measured.peak / MiB)


async def _measure(sink: RemoteSink, folder: Path, load: RuleLoad) -> RuleMeasurement:
    access = S3Access(
        endpoint_url=sink.endpoint,
        region="us-east-1",
        access_key_id="lab",
        secret_access_key="lab",  # noqa: S106
    )
    await anyio.Path(folder / "token").write_text(TOKEN)
    alerts = {"folder": str(folder), "port": 0, "address": "127.0.0.1"}
    async with world(access, load.pods) as cluster:
        cluster.create(KIND)
        for number in range(load.rules):
            cluster.create(_rule(number))
        kubeconfig = await cluster.kubeconfig(folder / "kubeconfig")
        start = OperatorProcess(sink, folder, kubeconfig, settings={"alerts": alerts})
        async with start.operator(cluster) as pid:
            return await _run(cluster, pid, load)


def _rule(number: int) -> dict[str, Any]:
    """Return a rule: all of them want the alerts of some nodes' pods, and each has its own."""
    every = number == 0
    selector = {} if every else {"matchLabels": {"app": f"node{number}", "never": "there"}}
    return {
        "apiVersion": "forensics.orkaproj.io/v1alpha1",
        "kind": "CaptureRule",
        "metadata": {"name": f"rule-{number:03}", "namespace": NAMESPACE},
        "spec": {
            "namespaces": ["default"],
            "selector": selector,
            "events": ["Alert", "CrashLoop", "OOMKilled", "Evicted"],
            "template": {"artifacts": ["context"]},
            "limits": {"perHour": 1000},
            "dedupeSeconds": 0,
        },
    }


def _alert(pod: str, number: int) -> dict[str, Any]:
    return {
        "rule": "Terminal shell in container",
        "priority": "Notice",
        "output": f"A shell was spawned in a container {number}",
        "time": datetime.now(UTC).isoformat(),
        "tags": ["shell"],
        "output_fields": {"k8s.ns.name": "default", "k8s.pod.name": pod},
    }


async def _run(cluster: LoopbackCluster, pid: int, load: RuleLoad) -> RuleMeasurement:
    (item,) = cluster.list("endpointslices", "forensics-operator")
    url = f"https://127.0.0.1:{item['ports'][0]['port']}/alerts/falco"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    connector = aiohttp.TCPConnector(ssl=False, limit=AT_ONCE)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        # Not the pods of one node alone: a node has its limit.
        pods = [f"web-{number * PODS_PER_NODE % load.pods}" for number in range(load.alerts)]
        latencies = [await _one(cluster, session, url, pod) for pod in dict.fromkeys(pods)]
        cpu, began, before = cpu_seconds(pid), time.monotonic(), _count(cluster)
        there = _jobs(cluster)
        refused = await _burst(session, url, load)
        seconds = time.monotonic() - began
        with anyio.fail_after(60):
            await cluster.until("jobs", lambda _: _jobs(cluster) - there, NAMESPACE)
    return RuleMeasurement(
        load=load,
        latencies=latencies,
        burst_seconds=seconds,
        burst_captures=_count(cluster) - before,
        burst_refused=refused,
        burst_cpu=cpu_seconds(pid) - cpu,
        peak=memory_of(pid, "VmHWM"),
    )


def _jobs(cluster: LoopbackCluster) -> set[str]:
    return {job["metadata"]["uid"] for job in cluster.list("jobs", NAMESPACE)}


def _count(cluster: LoopbackCluster) -> int:
    return len(cluster.list("podcheckpoints", NAMESPACE))


async def _one(
    cluster: LoopbackCluster, session: aiohttp.ClientSession, url: str, pod: str
) -> float:
    """Send an alert and wait for its Job; return the seconds that took."""
    there, began = _jobs(cluster), time.monotonic()
    async with session.post(url, data=json.dumps(_alert(pod, 0))) as answer:
        said = await answer.json()
    if said["outcome"] != "Taken":
        raise LabError(f"The alert of {pod} was not taken: {said}")
    with anyio.fail_after(60):
        await cluster.until("jobs", lambda _: _jobs(cluster) - there, NAMESPACE)
    return time.monotonic() - began


async def _burst(session: aiohttp.ClientSession, url: str, load: RuleLoad) -> int:
    """Send the burst; return how many of it were not taken."""
    refused = 0
    pod = f"web-{load.pods - 1}"

    async def send(number: int) -> None:
        nonlocal refused
        async with session.post(url, data=json.dumps(_alert(pod, number))) as answer:
            refused += answer.status != 202

    async with anyio.create_task_group() as tasks:
        for number in range(load.burst):
            tasks.start_soon(send, number)
    return refused


if __name__ == "__main__":
    main()
