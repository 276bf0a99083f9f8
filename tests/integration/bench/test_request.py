"""From a request to the pod that may be killed, measured by steps: a few requests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from bench.measure import ScriptCost
from bench.page import block
from bench.request import QUICK, RequestTimes, finding
from bench.request_cluster import Kubectl, real
from forensics_core.api.steps import Step
from forensics_loopback import LoopbackCluster
from lab.docker import DockerEngine
from lab.process import LabError
from tests.integration.bench.command import goals, python

START = ScriptCost(wall=0.1, cpu=0.1, peak=0, peak_together=0, written=0)
SMALL = [{"Reaction": 1000, "Capture": 500}, {"Reaction": 2000, "Capture": 700}]
TIMES = RequestTimes(SMALL, [1.6, 2.8], node=6.0, pods=12, large=({"Capture": 3000}, 3.1))


@pytest.mark.docker
@pytest.mark.timeout(240)
def test_every_step_of_a_request_is_measured(docker: DockerEngine, docs: Path) -> None:
    done = python("bench.request", "--quick", "--docs", docs, docker=docker)
    assert done.returncode == 0, done.stderr
    page = docs / "performance.md"
    for step in Step:
        assert f"| `{step}` |" in block(page, "request")
    assert "| step | median | most | 2 containers |" in block(page, "request")
    assert "2 such pods of one node, asked for at once" in block(page, "request")
    assert float(goals(page)["request"]) > 0
    assert block(page, "request-real") == ""


def test_a_step_that_was_not_timed_takes_no_time_of_its_own() -> None:
    text = finding(TIMES, QUICK, START).text
    assert "| `Reaction` | 1.50 | 2.00 | 0.00 |" in text
    assert "| `Check` | 0.00 | 0.00 | 0.00 |" in text
    assert "| all | 2.10 | 2.70 | 3.00 |" in text
    assert "| as who asked saw it | 2.20 | 2.80 | 3.10 |" in text


def test_what_kubernetes_takes_is_not_what_a_request_can_be_faster_than() -> None:
    started = [{"Scheduling": 1000, "ContainerStart": 600, "Capture": 300}]
    found = finding(replace(TIMES, small=started, large=None), QUICK, START, "-real")
    assert found.name == "request-real"
    assert "| `Capture` | 0.30 | 0.30 |" in found.text
    assert found.goals == {"request-real": 2.2, "request-real-node": 6.0}
    assert found.bounds["request-real"].value == pytest.approx(1.7)


async def play_kubelet(cluster: LoopbackCluster) -> None:
    """Give every pod a node, and say that it is ready."""
    done: set[str] = set()
    while True:
        await cluster.until("pods", lambda _: _names(cluster) - done, "default")
        for name in sorted(_names(cluster) - done):
            pod = cluster.get("pods", name, "default")
            node = pod["spec"].get("nodeName", "two")
            ready = {"conditions": [{"type": "Ready", "status": "True"}], "phase": "Running"}
            change = {"spec": {"nodeName": node}, "status": ready}
            cluster.patch("pods", name, change, "default")
            done.add(name)


def _names(cluster: LoopbackCluster) -> set[str]:
    return {pod["metadata"]["name"] for pod in cluster.list("pods", "default")}


async def test_pods_for_a_real_cluster_are_on_one_node_and_go_again(tmp_path: Path) -> None:
    async with LoopbackCluster(nodes=["one", "two"]) as cluster, anyio.create_task_group() as tasks:
        tasks.start_soon(play_kubelet, cluster)
        config = await cluster.kubeconfig(tmp_path / "kubeconfig")
        async with real(config, 3, patience=60) as measured:
            pods = [cluster.get("pods", name, "default") for name in measured.pods]
            assert len({pod["spec"]["nodeName"] for pod in pods}) == 1
            assert (measured.large, len(pods)) == ("", 3)
        tasks.cancel_scope.cancel()
        assert _names(cluster) == set()


async def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("{}")
    with pytest.raises(LabError, match="kubectl get failed"):
        await Kubectl(tmp_path / "kubeconfig", "default")("get", "pods")
