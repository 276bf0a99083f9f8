"""What surrounds the operator in a benchmark: a loopback cluster full of pods, idle workers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from forensics_core.api.crd import crd
from forensics_core.bundle.writer import BundleWriter
from forensics_core.storage.budget import ByteBudget
from forensics_core.storage.locate import S3Location, parse_location
from forensics_core.storage.s3.client import S3Access, s3_client
from forensics_core.storage.s3.storage import S3Storage
from forensics_loopback import ContainerExit, LoopbackCluster, RunningPod
from lab.idle import idle_capture, order_of

NAMESPACE = "forensics-system"
PODS_PER_NODE = 10
JsonObject = dict[str, Any]


@asynccontextmanager
async def world(access: S3Access, pods: int) -> AsyncIterator[LoopbackCluster]:
    """Open a cluster with so many running pods, ten a node, each the child of a Deployment."""
    nodes = [f"node{number}" for number in range(-(-pods // PODS_PER_NODE))]
    namespaces = ("default", NAMESPACE, "forensics-operator")
    async with (
        s3_client(access) as client,
        LoopbackCluster(
            runner=IdleWorker(client, access, ByteBudget()), nodes=nodes, namespaces=namespaces
        ) as cluster,
    ):
        cluster.create(crd())
        for number, node in enumerate(nodes):
            # As many as there are: else their controller would make others, or delete some.
            _owners(cluster, node, min(PODS_PER_NODE, pods - number * PODS_PER_NODE))
        for number in range(pods):
            _pod(cluster, number, nodes[number // PODS_PER_NODE])
        yield cluster


def checkpoint(number: int) -> JsonObject:
    """Return a PodCheckpoint of a pod of `world`, as `kubectl create` would send it."""
    return {
        "apiVersion": "forensics.orkaproj.io/v1alpha1",
        "kind": "PodCheckpoint",
        "metadata": {"name": f"checkpoint-{number}", "namespace": NAMESPACE},
        "spec": {
            "pod": f"web-{number}",
            "namespace": "default",
            "incident": "INC-7",
            # More than that the idle worker does not store.
            "artifacts": ["context"],
        },
    }


def _owners(cluster: LoopbackCluster, node: str, pods: int) -> None:
    # Without a template they are for show: keeping hundreds of them at their size, among thousands
    # of pods, would be work that is measured too.
    spec = {"replicas": pods, "selector": {"matchLabels": {"app": node}}}
    owner: list[JsonObject] = []
    for kind in ("Deployment", "ReplicaSet"):
        metadata = {"name": f"web-{node}", "namespace": "default", "ownerReferences": owner}
        body = {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec}
        owner = [_owner(cluster.create(body))]


def _owner(item: JsonObject) -> JsonObject:
    named = {"name": item["metadata"]["name"], "uid": item["metadata"]["uid"]}
    return {"apiVersion": item["apiVersion"], "kind": item["kind"], "controller": True, **named}


def _pod(cluster: LoopbackCluster, number: int, node: str) -> None:
    owner = _owner(cluster.get("replicasets.apps", f"web-{node}", "default"))
    metadata = {"labels": {"app": node}, "ownerReferences": [owner]}
    cluster.seed_pod(f"web-{number}", metadata=metadata, spec={"nodeName": node})


@dataclass(frozen=True, slots=True)
class IdleWorker:
    """Stands in for the collectors: it stores what makes a bundle whole, and nothing else."""

    client: Any
    access: S3Access
    budget: ByteBudget

    async def __call__(self, pod: RunningPod) -> ContainerExit:
        """Finish the bundle that the pod's order asks for."""
        order, sha256 = order_of(pod)
        place = parse_location(f"{order.destination}/{order.bundle}")
        if not isinstance(place, S3Location):
            raise TypeError(order.destination)
        bundle = BundleWriter(
            S3Storage(self.client, place, self.access, budget=self.budget),
        )
        await bundle.finish(idle_capture(order, sha256), order.context)
        return ContainerExit()
