"""Test on a cluster in memory: any client, real Jobs, faults on purpose; no server, no image."""

import asyncio
import tempfile
from pathlib import Path

from forensics_core import PodCheckpoints, connect
from forensics_core.api.crd import crd
from forensics_loopback import Fault, LoopbackCluster

MINE = {"apiVersion": "forensics.orkaproj.io/v1alpha1", "kind": "PodCheckpoint"}


async def main(folder: Path) -> None:
    async with LoopbackCluster() as cluster:
        cluster.create(crd())
        cluster.create({**MINE, "metadata": {"name": "case-7"}, "spec": {"pod": "web-0"}})
        cluster.faults.add(Fault(verb="get", status=429, headers={"Retry-After": "0"}))
        async with connect(await cluster.kubeconfig(folder / "kubeconfig")) as connection:
            found = await PodCheckpoints(connection, "default").get("case-7")
        print(found.spec.pod, cluster.records.counts())


with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(Path(folder)))
