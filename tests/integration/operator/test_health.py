"""`/readyz` and `/metrics` of an operator."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import aiohttp
import anyio

from forensics_core.kube.connection import connect
from forensics_core.operator.main import operate
from forensics_core.operator.settings import Settings
from forensics_core.operator.shared.metrics import Metrics
from forensics_core.service.health import health_server
from forensics_loopback import Fault, LoopbackCluster

HELD = {
    "holderIdentity": "another",
    "leaseDurationSeconds": 3600,
    "renewTime": "2030-01-01T00:00:00Z",
}


async def ask(port: int, path: str) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        return answer.status, answer.headers["Content-Type"], await answer.text()


async def always() -> bool:
    return True


async def test_metrics_are_what_prometheus_reads() -> None:
    metrics = Metrics()
    metrics.finished.labels(phase="Failed", reason="NotFound").inc()
    async with health_server(0, ready=always, metrics=metrics.exposition) as port:
        status, kind, text = await ask(port, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=0.0.4")
    assert 'forensics_checkpoints_finished_total{phase="Failed",reason="NotFound"} 1.0' in text


async def test_a_standby_is_ready_once_the_api_server_has_answered(tmp_path: Path) -> None:
    settings = Settings(health_port=0)
    async with (
        LoopbackCluster(namespaces=(settings.lease_namespace,)) as loopback,
        connect(await loopback.kubeconfig(tmp_path / "kubeconfig")) as cluster,
        anyio.create_task_group() as tasks,
    ):
        meta = {"name": settings.lease_name, "namespace": settings.lease_namespace}
        loopback.create(
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": meta,
                "spec": HELD,
            }
        )
        loopback.faults.add(Fault(resource="leases", status=403, times=sys.maxsize))
        tasks.start_soon(partial(operate, cluster, settings, port_file=tmp_path / "port"))
        port = await written(tmp_path / "port")
        await eventually(lambda: "get leases" in loopback.records.counts())
        assert (await ask(port, "/readyz"))[0] == 503
        assert (await ask(port, "/healthz"))[0] == 200
        loopback.faults.clear()
        while (await ask(port, "/readyz"))[0] == 503:
            pass
        tasks.cancel_scope.cancel()


async def written(path: Path) -> int:
    """Wait for the file with the port, and return that."""
    await eventually(lambda: path.exists() and path.read_text())
    return int(path.read_text())


async def eventually(seen: Callable[[], object]) -> None:
    while True:
        await anyio.sleep(0.05)
        if seen():
            return
