"""A node that joins by a kubeconfig, over HTTP and from a process of its own."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from forensics_core.kube.connection import connect
from forensics_core.kube.resources import JOBS, PODS
from forensics_loopback import ContainerExit, Fault, LoopbackCluster, RunningPod
from forensics_loopback.client.api import ObjectChanged, amend, until
from forensics_loopback.client.remote import RemoteApi
from forensics_loopback.controllers.jobs import JobController
from forensics_loopback.controllers.scheduler import Scheduler
from forensics_loopback.kubelet import node
from forensics_loopback.kubelet.node import join

Obj = dict[str, Any]


def job(name: str, script: str, **spec: Any) -> Obj:
    """A Job of one container, which reads the Secret `order` at /order."""
    container = {
        "name": "c",
        "image": "x",
        "command": ["sh", "-c", script],
        "volumeMounts": [{"name": "order", "mountPath": "/order"}],
    }
    pod = {
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [{"name": "order", "secret": {"secretName": "order"}}],
    }
    spec = {"backoffLimit": 0, "template": {"spec": pod}, **spec}
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}


SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "order", "namespace": "default"},
    "stringData": {"word": "sesame"},
}


@pytest.fixture
async def cluster() -> AsyncIterator[LoopbackCluster]:
    """An API alone: without nodes, kubelet and controllers."""
    async with LoopbackCluster(workers=False, nodes=()) as cluster:
        yield cluster


@asynccontextmanager
async def joined(
    cluster: LoopbackCluster, tmp_path: Path, runner: Any, heartbeat: float = node.HEARTBEAT
) -> AsyncIterator[RemoteApi]:
    """A node `n1` with controllers, in this process, by way of HTTP."""
    config = await cluster.kubeconfig(tmp_path / "kubeconfig")
    async with connect(config) as connection, anyio.create_task_group() as tasks:
        api = RemoteApi(connection)
        controllers = (JobController(api), Scheduler(api))
        tasks.start_soon(partial(join, api, "n1", runner, *controllers, heartbeat=heartbeat))
        yield api
        tasks.cancel_scope.cancel()


def conditions(jobs: list[Obj]) -> set[str]:
    return {c["type"] for found in jobs for c in found.get("status", {}).get("conditions", ())}


async def log(cluster: LoopbackCluster, pod: Obj, **query: str) -> tuple[int, str]:
    place = f"/api/v1/namespaces/default/pods/{pod['metadata']['name']}/log"
    async with (
        aiohttp.ClientSession(cluster.url) as http,
        http.get(place, params=query) as answer,
    ):
        return answer.status, await answer.text()


@asynccontextmanager
async def process(cluster: LoopbackCluster, tmp_path: Path) -> AsyncIterator[None]:
    """The node as a program that has a kubeconfig and nothing else."""
    config = await cluster.kubeconfig(tmp_path / "kubeconfig")
    command = [sys.executable, "-m", "forensics_loopback", "--kubeconfig", str(config)]
    async with await anyio.open_process([*command, "--node", "far", "--controllers"]) as running:
        try:
            yield
        finally:
            running.send_signal(signal.SIGINT)
            with anyio.CancelScope(shield=True):
                await running.wait()


async def test_a_process_with_a_kubeconfig_runs_jobs(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    cluster.create(job("collect", "cat /order/word; echo; echo bye > /dev/termination-log"))
    with anyio.fail_after(50):
        async with process(cluster, tmp_path):
            await cluster.until("pods", lambda pods: "CreateContainerConfigError" in str(pods))
            cluster.create(SECRET)
            await cluster.until("jobs", lambda jobs: "Complete" in conditions(jobs))
            (pod,) = cluster.list("pods")
            assert pod["spec"]["nodeName"] == "far"
            state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
            assert (state["exitCode"], state["message"]) == (0, "bye\n")
            assert await log(cluster, pod) == (200, "sesame\n")
    assert (await log(cluster, pod))[0] == 500


async def test_a_deleted_pod_ends_its_process_before_it_goes(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    cluster.create(SECRET)
    ended = anyio.Path(tmp_path / "ended")
    script = f"trap 'echo yes > {ended}; exit 1' TERM; echo up; while :; do sleep 0.1; done"
    with anyio.fail_after(50):
        async with process(cluster, tmp_path):
            cluster.create(job("collect", script))
            (pod,) = await cluster.until("pods", lambda pods: "Running" in str(pods))
            place = f"/api/v1/namespaces/default/pods/{pod['metadata']['name']}/log"
            async with (
                aiohttp.ClientSession(cluster.url) as http,
                http.get(place, params={"follow": "true"}) as answer,
            ):
                assert await answer.content.readline() == b"up\n"
                cluster.delete("jobs", "collect", "default", propagationPolicy="Background")
                assert await answer.content.read() == b""
            await cluster.until("pods", lambda pods: not pods)
    assert await ended.read_text() == "yes\n"


async def _hang(pod: RunningPod) -> ContainerExit:
    await anyio.sleep_forever()
    raise AssertionError


async def _finish(pod: RunningPod) -> ContainerExit:
    pod.log.write(b"first\nsecond\n")
    return ContainerExit(message=pod.read("secrets", "order")["word"].decode())  # type: ignore[index] # the Secret is there


async def test_a_failed_attempt_is_followed_by_another_pod(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    left = [ContainerExit(1), ContainerExit()]

    async def run(pod: RunningPod) -> ContainerExit:
        return left.pop(0)

    cluster.create(SECRET)
    cluster.create(job("collect", "", backoffLimit=1))
    with anyio.fail_after(50):
        async with joined(cluster, tmp_path, run):
            (done,) = await cluster.until("jobs", lambda jobs: "Complete" in conditions(jobs))
    assert (done["status"]["failed"], done["status"]["succeeded"]) == (1, 1)


async def test_the_log_options_reach_the_kubelet(cluster: LoopbackCluster, tmp_path: Path) -> None:
    cluster.create(SECRET)
    cluster.create(job("collect", ""))
    with anyio.fail_after(50):
        async with joined(cluster, tmp_path, _finish):
            await cluster.until("jobs", lambda jobs: "Complete" in conditions(jobs))
            (pod,) = cluster.list("pods")
            assert await log(cluster, pod, tailLines="1") == (200, "second\n")
            port = cluster.list("nodes")[0]["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
            base = f"http://127.0.0.1:{port}/containerLogs/default"
            async with aiohttp.ClientSession() as http:
                async with http.get(f"{base}/none/c") as answer:
                    assert answer.status == 404
                place = f"{base}/{pod['metadata']['name']}/c"
                async with http.get(place, params={"tailLines": "x"}) as answer:
                    assert answer.status == 400


async def test_a_pod_that_an_earlier_kubelet_ran_is_lost(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    cluster.create(SECRET)
    cluster.create(job("collect", ""))
    with anyio.fail_after(50):
        async with joined(cluster, tmp_path, _hang):
            await cluster.until("pods", lambda pods: "Running" in str(pods))
        async with joined(cluster, tmp_path, _hang):
            await cluster.until("jobs", lambda jobs: "Failed" in conditions(jobs))
    (pod,) = cluster.list("pods")
    state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert state["reason"] == "ContainerStatusUnknown"


async def test_a_pod_deleted_while_no_kubelet_ran_goes_with_the_next(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    cluster.create(SECRET)
    cluster.create(job("collect", "", backoffLimit=0))
    with anyio.fail_after(50):
        async with joined(cluster, tmp_path, _hang):
            (pod,) = await cluster.until("pods", lambda pods: "Running" in str(pods))
        cluster.delete("pods", pod["metadata"]["name"], "default")
        assert cluster.list("pods")
        async with joined(cluster, tmp_path, _hang):
            await cluster.until("jobs", lambda jobs: "Failed" in conditions(jobs))
            await cluster.until("pods", lambda pods: not pods)


async def test_a_finished_job_expires_under_another_controller(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    cluster.create(job("collect", "", ttlSecondsAfterFinished=0))
    condition = {"type": "Complete", "status": "True"}
    cluster.patch("jobs", "collect", {"status": {"conditions": [condition]}}, "default")
    with anyio.fail_after(50):
        async with joined(cluster, tmp_path, _finish):
            await cluster.until("jobs", lambda jobs: not jobs)
    assert cluster.list("pods") == []


async def test_a_pod_that_no_job_controls_is_not_run(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    meta = {"name": "web", "namespace": "default"}
    made = cluster.create({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta})
    kind = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web"}
    owner = {**kind, "uid": made["metadata"]["uid"], "controller": True}
    pending = {"phase": "Pending", "containerStatuses": None}
    cluster.seed_pod("web", spec={"nodeName": "n1"}, status=pending)
    cluster.seed_pod("set", metadata={"ownerReferences": [owner]})
    cluster.create(SECRET)
    with anyio.fail_after(50):
        async with joined(cluster, tmp_path, _finish):
            cluster.create(job("collect", ""))
            await cluster.until("jobs", lambda jobs: "Complete" in conditions(jobs))
    assert cluster.get("pods", "web", "default")["status"]["phase"] == "Pending"
    assert cluster.get("pods", "set", "default")["status"]["phase"] == "Running"


async def test_a_pod_of_another_node_is_left_alone(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    cluster.create(SECRET)
    cluster.seed_node("a-node-without-kubelet")
    cluster.create(job("collect", ""))
    with anyio.fail_after(50):
        async with joined(cluster, tmp_path, _finish):
            await cluster.until("pods", lambda pods: "a-node-without-kubelet" in str(pods))
            await cluster.until("nodes", lambda nodes: "daemonEndpoints" in str(nodes))
            cluster.create(job("second", ""))
            await cluster.until("pods", lambda pods: len(pods) == 2)
    assert {pod["status"]["phase"] for pod in cluster.list("pods")} == {"Pending"}


async def test_the_node_tells_that_it_lives(cluster: LoopbackCluster, tmp_path: Path) -> None:
    long_ago = "2001-01-01T00:00:00Z"
    cluster.seed_node("n1", metadata={"labels": {"kept": "yes"}})

    def beats(nodes: list[Obj]) -> bool:
        return long_ago not in str(nodes)

    with anyio.fail_after(50):
        async with joined(cluster, tmp_path, _finish, heartbeat=0.01):
            await cluster.until("nodes", lambda nodes: "daemonEndpoints" in str(nodes))
            ready = {"type": "Ready", "status": "Unknown", "lastHeartbeatTime": long_ago}
            other = {"type": "DiskPressure", "status": "False"}
            cluster.patch("nodes", "n1", {"status": {"conditions": [other, ready]}})
            (found,) = await cluster.until("nodes", beats)
    assert found["metadata"]["labels"] == {**found["metadata"]["labels"], "kept": "yes"}
    assert found["status"]["conditions"][1]["status"] == "True"


async def test_trouble_with_the_api_delays_a_job_and_doubles_nothing(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    cluster.create(SECRET)
    cluster.create(job("collect", ""))
    for fault in (
        Fault(verb="create", resource="pods", executed=True, status=500),
        Fault(verb="create", resource="pods/binding", executed=True, reset=True),
        Fault(verb="update", resource="pods/status", executed=True, reset=True),
        Fault(verb="update", resource="jobs/status", status=503, times=2),
        Fault(verb="get", resource="jobs", status=500),
        Fault(verb="list", resource="secrets", status=503),
    ):
        cluster.faults.add(fault)
    with anyio.fail_after(50):
        async with joined(cluster, tmp_path, _finish):
            (done,) = await cluster.until("jobs", lambda jobs: "Complete" in conditions(jobs))
    assert done["status"]["succeeded"] == 1
    assert len(cluster.list("pods")) == 1


async def test_a_pod_that_is_made_anew_is_another_one(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    config = await cluster.kubeconfig(tmp_path / "kubeconfig")
    async with connect(config) as connection:
        pod = cluster.seed_pod("web")
        cluster.delete("pods", "web", "default")
        cluster.seed_pod("web")
        assert await until(RemoteApi(connection), PODS, pod, lambda _: True) is None


async def test_a_program_without_a_cluster_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "forensics_loopback", "--kubeconfig", str(tmp_path / "none")]
    done = await anyio.run_process(command, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"Error: ")


async def test_the_calls_say_what_is_gone_and_what_has_changed(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    config = await cluster.kubeconfig(tmp_path / "kubeconfig")
    async with connect(config) as connection:
        api = RemoteApi(connection)
        pod = cluster.seed_pod("web")
        cluster.patch("pods", "web", {"metadata": {"labels": {"a": "b"}}}, "default")
        with pytest.raises(ObjectChanged):
            await api.replace(PODS, pod)
        await api.bind(pod, "elsewhere")
        seen = await amend(api, PODS, pod, lambda obj: obj["metadata"]["labels"].clear(), "")
        assert (seen or {})["metadata"]["labels"] == {}
        await api.delete(PODS, {"metadata": {**pod["metadata"], "uid": "another"}})
        assert cluster.list("pods")
        await api.delete(PODS, pod)
        await api.delete(PODS, pod)
        assert await api.get(PODS, "web", "default") is None
        assert await api.replace(PODS, pod, "status") is None
        assert await amend(api, PODS, pod, lambda _: None) is None
        assert await until(api, PODS, pod, lambda _: True) is None
        assert await api.list(JOBS) == []
