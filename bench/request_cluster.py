"""Where requests are measured: the loopback cluster, or a real one with pods made for it."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import yaml

from bench.incident import PLACES
from bench.operator import OperatorProcess
from bench.operator_world import NAMESPACE
from bench.page import GENTLE, PRIORITY
from bench.runs import search_path
from bench.sink import RemoteSink
from bench.subjects import Contents
from forensics_core.api.crd import crd
from forensics_loopback import LoopbackCluster, ProcessRunner
from lab.docker import DockerEngine
from lab.engine import FOREVER
from lab.process import LabError

IMAGE = "registry.k8s.io/busybox:1.27"
LABEL = "kube-forensics-bench"
PATIENCE = 600
"""Seconds that pods may take to run, or one request."""


@dataclass(frozen=True, slots=True)
class RequestCluster:
    """A cluster with an operator, and pods whose captures are asked for."""

    kubeconfig: Path
    namespace: str
    """Of the pods."""
    pods: Sequence[str]
    """Small ones, all of one node."""
    large: str
    """A pod of many containers; empty if there is none."""


@asynccontextmanager
async def loopback(
    engine: DockerEngine, sink: RemoteSink, folder: Path, pods: int, containers: int
) -> AsyncIterator[RequestCluster]:
    """Run a loopback cluster, an operator with its default settings, and these pods."""
    small, large = [f"small-{number}" for number in range(pods)], "large"
    async with (
        _containers(engine, folder, max(pods, containers)) as ids,
        _cluster(engine, sink) as cluster,
    ):
        config = await cluster.kubeconfig(folder / "kubeconfig", namespace=NAMESPACE)
        for name, container in zip(small, ids, strict=False):
            cluster.seed_pod(name, **_seed([container]))
        cluster.seed_pod(large, **_seed(ids[:containers]))
        start = OperatorProcess(sink, folder, config, captures_per_node=PLACES)
        async with start.operator(cluster):
            yield RequestCluster(config, "default", small, large)


@asynccontextmanager
async def _containers(engine: DockerEngine, folder: Path, count: int) -> AsyncIterator[list[str]]:
    await anyio.to_thread.run_sync(Contents().write, folder / "rootfs")
    image = await engine.import_image(folder / "rootfs")
    names: list[str] = []
    try:
        for _ in range(count):
            container = await engine.run(image, FOREVER)
            names.append(container)  # One by one: those that are there are removed, whatever fails.
        yield names
    finally:
        with anyio.CancelScope(shield=True):
            for name in names:
                await engine.remove(name)


@asynccontextmanager
async def _cluster(engine: DockerEngine, sink: RemoteSink) -> AsyncIterator[LoopbackCluster]:
    # With the collector that is beside this Python.
    priority = {GENTLE: PRIORITY} if PRIORITY else {}
    env = {**engine.env, **sink.env, **priority, "PATH": search_path()}
    runner = ProcessRunner(env=env)
    namespaces = ("default", NAMESPACE, "forensics-operator")
    async with LoopbackCluster(runner=runner, namespaces=namespaces) as cluster:
        cluster.create(crd())
        yield cluster


def _seed(containers: Sequence[str]) -> dict[str, Any]:
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


@asynccontextmanager
async def real(
    kubeconfig: Path,
    pods: int,
    *,
    namespace: str = "default",
    image: str = IMAGE,
    patience: int = PATIENCE,
) -> AsyncIterator[RequestCluster]:
    """Run small pods on one node of a cluster for the block, with the operator that is there.

    `patience` is how many seconds they may take. Raises `LabError`.
    """
    names = [f"{LABEL}-{number}" for number in range(pods)]
    kubectl = Kubectl(kubeconfig, namespace)
    try:
        await kubectl("apply", "--filename=-", stdin=_manifests(names[:1], image))
        await kubectl.wait(names[:1], patience)
        node = (await kubectl("get", "pod", names[0], "--output=jsonpath={.spec.nodeName}")).strip()
        if names[1:]:
            await kubectl("apply", "--filename=-", stdin=_manifests(names[1:], image, node))
            await kubectl.wait(names[1:], patience)
        yield RequestCluster(kubeconfig, namespace, names, "")
    finally:
        with anyio.CancelScope(shield=True):
            await kubectl("delete", "pod", "--ignore-not-found", "--wait=false", *names)


@dataclass(frozen=True, slots=True)
class Kubectl:
    """`kubectl` with one cluster and namespace."""

    kubeconfig: Path
    namespace: str

    async def __call__(self, *arguments: str, stdin: str = "") -> str:
        """Run it; return what it prints. Raises `LabError` if it fails."""
        where = (f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}")
        done = await anyio.run_process(
            ["kubectl", *where, *arguments],
            input=stdin.encode(),
            check=False,
            env={"PATH": search_path(), "HOME": str(Path.home())},
            stderr=subprocess.PIPE,
        )
        if done.returncode:
            raise LabError(f"kubectl {arguments[0]} failed: {done.stderr.decode().strip()}")
        return done.stdout.decode()

    async def wait(self, pods: Sequence[str], patience: int) -> None:
        """Wait until all of these pods are ready; `patience` in seconds."""
        await self("wait", "--for=condition=Ready", f"--timeout={patience}s", "pod", *pods)


def _manifests(names: Sequence[str], image: str, node: str = "") -> str:
    return yaml.safe_dump_all(_manifest(name, image, node) for name in names)


def _manifest(name: str, image: str, node: str) -> Mapping[str, Any]:
    """Return a pod that sleeps, on the node of the others."""
    container = {"name": "app", "image": image, "command": ["sleep", "86400"]}
    chosen = {"nodeName": node} if node else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": LABEL}},
        "spec": {**chosen, "terminationGracePeriodSeconds": 0, "containers": [container]},
    }
