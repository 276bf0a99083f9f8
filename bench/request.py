"""`python -m bench.request`: from a PodCheckpoint to the moment at which its pod may be killed.

Everything is real but the cluster, which is the loopback one: the operator and the collectors are
processes, the containers are a Docker Engine's. One request after the other, each by the steps that
its status tells; then one for a pod of many containers.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import anyio.to_thread
import click

from bench.goals import publish
from bench.operator import KEEP, OperatorProcess
from bench.operator_world import NAMESPACE, JsonObject
from bench.page import PartResult, measured, table
from bench.runs import search_path
from bench.sink import RemoteSink, remote_sink
from bench.subjects import Contents
from forensics_core.api.crd import crd
from forensics_core.api.steps import Step
from forensics_core.errors import ForensicsError
from forensics_loopback import LoopbackCluster, ProcessRunner
from lab.docker import DockerEngine, running_docker_engine
from lab.engine import FOREVER
from lab.process import LabError, end_politely

MANY = 20
"""Containers of the large pod."""
PATIENCE = 600.0
"""Seconds that one request may take."""
Timings = Mapping[str, int]
"""Milliseconds by step."""


@click.command()
@click.option("--runs", type=click.IntRange(1), default=7, show_default=True, help="Requests.")
@click.option("--containers", type=click.IntRange(1), default=MANY, help="Of the large pod.")
@click.option(
    "--docs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where performance.md is.  [default: it is only printed]",
)
def main(runs: int, containers: int, docs: Path | None) -> None:
    """Measure what a responder waits for, step by step."""
    end_politely()
    try:
        with (
            TemporaryDirectory(prefix="bench-") as folder,
            running_docker_engine() as engine,
            remote_sink(KEEP) as sink,
        ):
            small, large = anyio.run(_measure, engine, sink, Path(folder), runs, containers)
    except ForensicsError as error:
        raise click.ClickException(str(error)) from error
    found = finding(small, large, containers)
    print(found.text)
    if docs:
        publish(docs / "performance.md", found)


def finding(small: Sequence[Timings], large: Timings, containers: int) -> PartResult:
    """Return the table."""
    about = (
        f"{measured(len(small))}, of a pod with one container and almost nothing in it; and once "
        f"of one with {containers} such containers. The load at the end was "
        f"{os.getloadavg()[0]:.1f}, on {os.cpu_count()} processors. Seconds."
    )
    columns = ("step", "median", "most", f"{containers} containers")
    return PartResult("request", f"{about}\n\n{table(columns, _rows(small, large))}")


def _rows(small: Sequence[Timings], large: Timings) -> Iterator[list[str]]:
    for step in Step:
        took = [each.get(step, 0) for each in small]
        yield [
            f"`{step}`",
            _seconds(median(took)),
            _seconds(max(took)),
            _seconds(large.get(step, 0)),
        ]
    whole = [sum(each.values()) for each in small]
    yield ["all", _seconds(median(whole)), _seconds(max(whole)), _seconds(sum(large.values()))]


def _seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.2f}"


async def _measure(
    engine: DockerEngine, sink: RemoteSink, folder: Path, runs: int, containers: int
) -> tuple[list[Timings], Timings]:
    async with _containers(engine, folder, containers) as names, _cluster(engine, sink) as cluster:
        config = await cluster.kubeconfig(folder / "kubeconfig", namespace=NAMESPACE)
        cluster.seed_pod("small", **_pod(names[:1]))
        cluster.seed_pod("large", **_pod(names))
        async with OperatorProcess(sink, folder, config).operator(cluster):
            small = [await _captured(cluster, "small", number) for number in range(runs)]
            return small, await _captured(cluster, "large", runs)


@asynccontextmanager
async def _containers(engine: DockerEngine, folder: Path, count: int) -> AsyncIterator[list[str]]:
    await anyio.to_thread.run_sync(Contents().write, folder / "rootfs")
    image = await engine.import_image(folder / "rootfs")
    names = [await engine.run(image, FOREVER) for _ in range(count)]
    try:
        yield names
    finally:
        with anyio.CancelScope(shield=True):
            for name in names:
                await engine.remove(name)


@asynccontextmanager
async def _cluster(engine: DockerEngine, sink: RemoteSink) -> AsyncIterator[LoopbackCluster]:
    # The collector that is beside this Python.
    # With the collector that is beside this Python.
    runner = ProcessRunner(env={**engine.env, **sink.env, "PATH": search_path()})
    namespaces = ("default", NAMESPACE, "forensics-operator")
    async with LoopbackCluster(runner=runner, namespaces=namespaces) as cluster:
        cluster.create(crd())
        yield cluster


def _pod(containers: Sequence[str]) -> dict[str, Any]:
    rows = [
        {
            "name": f"app-{number}",
            "image": "registry.example/app:1",
            "imageID": "",
            "containerID": f"docker://{container}",
            "state": {"running": {}},
            "ready": True,
            "restartCount": 0,
        }
        for number, container in enumerate(containers)
    ]
    spec = {"containers": [{"name": row["name"], "image": row["image"]} for row in rows]}
    return {"spec": spec, "status": {"containerStatuses": rows}}


async def _captured(cluster: LoopbackCluster, pod: str, number: int) -> Timings:
    """Ask for a capture of a pod; return what each step took once it is complete."""
    name = f"{pod}-{number}"
    cluster.create(
        {
            "apiVersion": "forensics.orkaproj.io/v1alpha1",
            "kind": "PodCheckpoint",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"pod": pod, "namespace": "default"},
        }
    )
    status: JsonObject = {}
    with anyio.move_on_after(PATIENCE):
        while status.get("phase") not in {"Complete", "Failed"}:
            await anyio.sleep(0.05)
            status = cluster.get("podcheckpoints", name, NAMESPACE).get("status", {})
    if status.get("phase") != "Complete":
        raise LabError(f"{name} was not captured: {status.get('conditions')}")
    return {each["step"]: each["milliseconds"] for each in status["timings"]}


if __name__ == "__main__":
    main()
