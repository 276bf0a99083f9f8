"""What is read around a pod before it is cut off, and what is done without."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from forensics_core.kube.connection import connect
from forensics_core.operator.attempt.reads import Reads
from forensics_core.operator.containment.enforcement import DECLARED, UNKNOWN
from forensics_core.operator.containment.surroundings import Enforcers, look_around
from forensics_loopback import Fault, LoopbackCluster
from tests.integration.operator.stage import reads_of

POD = {"metadata": {"name": "web-0", "namespace": "default", "uid": "1"}}


@dataclass
class Around:
    """A cluster, and an operator's reads of it."""

    cluster: LoopbackCluster
    reads: Reads

    def asked(self) -> int:
        return sum(self.cluster.records.counts().values())


@pytest.fixture
async def around(tmp_path: Path) -> AsyncIterator[Around]:
    async with LoopbackCluster() as cluster:
        kubeconfig = await cluster.kubeconfig(tmp_path / "kubeconfig")
        async with connect(kubeconfig) as connection:
            yield Around(cluster, reads_of(connection))


def service(name: str, note: str = "") -> dict[str, Any]:
    meta = {"name": name, "namespace": "default", "annotations": {"note": note}}
    spec = {"selector": {"app": "web"}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}


async def test_the_word_of_the_settings_needs_no_request(around: Around) -> None:
    assert await Enforcers(around.reads, "enforced").look() is DECLARED
    assert around.asked() == 0


async def test_what_enforces_is_looked_for_once_for_many_pods(around: Around) -> None:
    enforcers = Enforcers(around.reads)
    assert await enforcers.look() is UNKNOWN
    once = around.asked()
    assert await enforcers.look() is UNKNOWN
    assert around.asked() == once > 0


async def test_plugins_that_may_not_be_read_are_not_known(around: Around) -> None:
    around.cluster.faults.add(Fault("get", "daemonsets", times=100, status=403))
    assert await Enforcers(around.reads).look() is UNKNOWN


async def test_services_without_end_are_cut_and_told(around: Around) -> None:
    for number in range(3):
        around.cluster.create(service(f"web-{number}", "x" * 600_000))
    seen = await look_around(around.reads, Enforcers(around.reads, "enforced"), POD)
    assert seen.gaps == (f"only the first {len(seen.services)} services were read",)
    assert 0 < len(seen.services) < 3
    assert seen.controller is None
