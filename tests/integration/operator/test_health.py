"""`/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import aiohttp
import anyio
import pytest

from forensics_core.errors import UsageError
from forensics_core.kube.connection import connect
from forensics_core.operator.health import RECENT, Contact, health_server
from forensics_core.operator.main import operate
from forensics_core.operator.metrics import Metrics
from forensics_core.operator.settings import Settings
from forensics_loopback import Fault, LoopbackCluster

LOCAL = "127.0.0.1"
HELD = {
    "holderIdentity": "another",
    "leaseDurationSeconds": 3600,
    "renewTime": "2030-01-01T00:00:00Z",
}


async def ask(port: int, path: str, host: str = LOCAL) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}{path}") as answer,
    ):
        return answer.status, answer.headers["Content-Type"], await answer.text()


async def test_it_is_alive_before_it_is_ready() -> None:
    answers = iter([False, True])
    async with health_server(0, Metrics(), lambda: next(answers)) as port:
        assert (await ask(port, "/healthz"))[0] == 200
        assert (await ask(port, "/readyz"))[0] == 503
        assert (await ask(port, "/readyz"))[0] == 200
        assert (await ask(port, "/"))[0] == 404


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="the kernel has no IPv6")
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_probes_come_by_either_family(host: str) -> None:
    async with health_server(0, Metrics(), lambda: True) as port:
        assert (await ask(port, "/healthz", host))[0] == 200


async def test_without_ipv6_there_is_still_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    async with health_server(0, Metrics(), lambda: True) as port:
        assert (await ask(port, "/healthz"))[0] == 200


async def test_metrics_are_what_prometheus_reads() -> None:
    metrics = Metrics()
    metrics.finished.labels(phase="Failed", reason="NotFound").inc()
    async with health_server(0, metrics, lambda: True) as port:
        status, kind, text = await ask(port, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=0.0.4")
    assert 'forensics_checkpoints_finished_total{phase="Failed",reason="NotFound"} 1.0' in text


async def test_a_port_that_is_taken_is_said_plainly() -> None:
    async with health_server(0, Metrics(), lambda: True) as port:
        with pytest.raises(UsageError, match=f"The port {port} cannot be served"):
            async with health_server(port, Metrics(), lambda: True):
                raise AssertionError("two cannot serve one port")


def test_an_answer_shows_for_a_while_that_the_api_server_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([100.0, 100.0 + RECENT - 1, 100.0 + RECENT])
    monkeypatch.setattr(anyio, "current_time", lambda: next(clock))
    contact = Contact()
    contact.heard()
    assert contact.recent
    assert not contact.recent


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
