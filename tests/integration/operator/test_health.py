"""`/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

import aiohttp
import pytest

from forensics_core.errors import UsageError
from forensics_core.operator.health import health_server
from forensics_core.operator.metrics import Metrics

LOCAL = "127.0.0.1"


async def ask(port: int, path: str) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{LOCAL}:{port}{path}") as answer,
    ):
        return answer.status, answer.headers["Content-Type"], await answer.text()


async def test_it_is_alive_before_it_is_ready() -> None:
    answers = iter([False, True])
    async with health_server(0, Metrics(), lambda: next(answers), LOCAL) as port:
        assert (await ask(port, "/healthz"))[0] == 200
        assert (await ask(port, "/readyz"))[0] == 503
        assert (await ask(port, "/readyz"))[0] == 200
        assert (await ask(port, "/"))[0] == 404


async def test_metrics_are_what_prometheus_reads() -> None:
    metrics = Metrics()
    metrics.finished.labels(phase="Failed", reason="NotFound").inc()
    async with health_server(0, metrics, lambda: True, LOCAL) as port:
        status, kind, text = await ask(port, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=0.0.4")
    assert 'forensics_checkpoints_finished_total{phase="Failed",reason="NotFound"} 1.0' in text


async def test_a_port_that_is_taken_is_said_plainly() -> None:
    async with health_server(0, Metrics(), lambda: True, LOCAL) as port:
        with pytest.raises(UsageError, match=f"The port {port} cannot be served"):
            async with health_server(port, Metrics(), lambda: True, LOCAL):
                raise AssertionError("two cannot serve one port")
