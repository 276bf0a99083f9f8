"""Jobs on a loopback cluster: processes that really run, and ends that a test decides."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from forensics_loopback import ContainerExit, LogOptions, LoopbackCluster, ProcessRunner, RunningPod

Obj = dict[str, Any]


def job(container: Obj, *, pod: Obj | None = None, **spec: Any) -> Obj:
    """A Job with one container that is never restarted."""
    first = {"name": "c", "image": "x", **container}
    template = {"spec": {"restartPolicy": "Never", "containers": [first], **(pod or {})}}
    spec = {"backoffLimit": 0, "template": template, **spec}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "collect"}, "spec": spec}


def shell(script: str, **more: Any) -> Obj:
    return {"command": ["sh", "-c", script], **more}


@pytest.fixture
async def cluster() -> AsyncIterator[LoopbackCluster]:
    async with LoopbackCluster(runner=ProcessRunner(grace=5)) as cluster:
        yield cluster


async def finished(cluster: LoopbackCluster) -> Obj:
    """The only Job, once it is complete or has failed."""

    def is_over(jobs: list[Obj]) -> bool:
        conditions = [c["type"] for job in jobs for c in job["status"].get("conditions", ())]
        return bool({"Complete", "Failed"} & set(conditions))

    with anyio.fail_after(20):
        (found,) = await cluster.until("jobs", is_over)
    return found


def terminated(cluster: LoopbackCluster) -> Obj:
    (pod,) = cluster.list("pods")
    state: Obj = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    return state


def reason(found: Obj) -> str:
    return str(found["status"]["conditions"][-1]["reason"])


def secret(name: str, **data: str) -> Obj:
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": data}


async def test_the_environment_comes_from_secrets_fields_and_expansion(
    cluster: LoopbackCluster,
) -> None:
    cluster.create(secret("keys", word="s3cret"))
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}}
    cluster.create({**config, "data": {"COLOUR": "blue"}})
    env = [
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "word"}}},
        {"name": "B", "value": "<$(A)>"},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "COLOUR"}}},
        {"name": "D", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "none"}}},
    ]
    source = [{"secretRef": {"name": "keys"}, "prefix": "K_"}, {"configMapRef": {"name": "conf"}}]
    script = 'printf "$B $POD $C $K_word $COLOUR ${D-unset} $0" > /dev/termination-log'
    container = {"command": ["sh", "-c", script], "args": ["$(A)"], "env": env, "envFrom": source}
    cluster.create(job(container))
    await finished(cluster)
    assert terminated(cluster)["message"] == "<s3cret> default blue s3cret blue unset s3cret"


async def test_volumes_become_folders(cluster: LoopbackCluster, tmp_path: Path) -> None:
    cluster.create(secret("order", **{"order.json": '{"a": 1}', "other": "x"}))
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}}
    cluster.create({**config, "data": {"f": "from-config"}})
    items = [{"key": "order.json", "path": "deep/o.json"}]
    token = {"serviceAccountToken": {"path": "token", "audience": "sts"}}
    name = [{"path": "name", "fieldRef": {"fieldPath": "spec.nodeName"}}]
    sources = [
        token,
        {"secret": {"name": "order", "items": items}},
        {"configMap": {"name": "conf"}},
        {"downwardAPI": {"items": name}},
    ]
    volumes = [
        {"name": "order", "secret": {"secretName": "order"}},
        {"name": "conf", "configMap": {"name": "conf"}},
        {"name": "all", "projected": {"sources": sources}},
        {"name": "info", "downwardAPI": {"items": name}},
        {"name": "scratch", "emptyDir": {}},
        {"name": "host", "hostPath": {"path": str(tmp_path)}},
    ]
    mounts = [{"name": v["name"], "mountPath": f"/mnt/{v['name']}"} for v in volumes]
    mounts.append({"name": "order", "mountPath": "/one.json", "subPath": "order.json"})
    script = (
        "cat /mnt/order/order.json /one.json /mnt/conf/f /mnt/all/token /mnt/all/deep/o.json"
        " /mnt/all/f /mnt/all/name /mnt/info/name > /mnt/scratch/all;"
        " cp /mnt/scratch/all /mnt/host/out"
    )
    cluster.create(job(shell(script, volumeMounts=mounts), pod={"volumes": volumes}))
    assert reason(await finished(cluster)) == "CompletionsReached"
    order, config_text = '{"a": 1}', "from-config"
    expected = f"{order}{order}{config_text}loopback-token:sts{order}{config_text}node1node1"
    assert await anyio.Path(tmp_path / "out").read_text() == expected


async def test_the_entrypoint_stands_in_for_the_image(cluster: LoopbackCluster) -> None:
    cluster.use_runner(ProcessRunner(entrypoint=[sys.executable, "-c"], env={"X": "1"}))
    cluster.create(job({"args": ["import os; print(os.environ['X'], end='')"]}))
    assert reason(await finished(cluster)) == "CompletionsReached"
    (pod,) = cluster.list("pods")
    log = cluster.logs.of(pod["metadata"]["uid"], "c")
    assert [block async for block in log.read(LogOptions(follow=True))] == [b"1\n"]


@pytest.mark.parametrize("container", [{}, {"command": ["/no/such/program"]}])
async def test_a_container_that_cannot_start_fails_the_job(
    cluster: LoopbackCluster, container: Obj
) -> None:
    cluster.create(job(container))
    assert reason(await finished(cluster)) == "BackoffLimitExceeded"
    assert (terminated(cluster)["exitCode"], terminated(cluster)["reason"]) == (128, "StartError")


async def test_a_signal_counts_as_in_a_shell(cluster: LoopbackCluster) -> None:
    cluster.create(job(shell("kill -9 $$")))
    await finished(cluster)
    assert terminated(cluster)["exitCode"] == 137


async def test_deleting_a_job_in_the_background_ends_its_process(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    pid = anyio.Path(tmp_path / "pid")
    cluster.create(job(shell(f"echo $$ > {pid}.new; mv {pid}.new {pid}; echo up; sleep 600")))
    (pod,) = await cluster.until("pods", lambda pods: "Running" in str(pods))
    async for _ in cluster.logs.of(pod["metadata"]["uid"], "c").read(LogOptions(follow=True)):
        break
    number = int(await pid.read_text())
    cluster.delete("jobs", "collect", "default", propagationPolicy="Background")
    await cluster.until("pods", lambda pods: not pods)
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


async def test_who_ignores_sigterm_is_killed(cluster: LoopbackCluster) -> None:
    cluster.use_runner(ProcessRunner())
    stubborn = shell("trap '' TERM; echo up; while :; do sleep 0.1; done")
    cluster.create(job(stubborn, pod={"terminationGracePeriodSeconds": 0}))
    (pod,) = await cluster.until("pods", lambda pods: "Running" in str(pods))
    async for _ in cluster.logs.of(pod["metadata"]["uid"], "c").read(LogOptions(follow=True)):
        break
    cluster.delete("pods", pod["metadata"]["name"], "default")
    assert reason(await finished(cluster)) == "BackoffLimitExceeded"
    await cluster.until("pods", lambda pods: not pods)


def ends(*outcomes: ContainerExit) -> Callable[[RunningPod], Any]:
    """A runner whose pods end one after the other as told; further ones never."""
    left = list(outcomes)

    async def run(pod: RunningPod) -> ContainerExit:
        if not left:
            await anyio.sleep_forever()
        return left.pop(0)

    return run


async def test_a_container_killed_for_memory_fails_the_job(cluster: LoopbackCluster) -> None:
    cluster.use_runner(ends(ContainerExit(137, reason="OOMKilled")))
    cluster.create(job({}))
    assert reason(await finished(cluster)) == "BackoffLimitExceeded"
    assert terminated(cluster)["reason"] == "OOMKilled"


async def test_an_evicted_pod_fails_the_job(cluster: LoopbackCluster) -> None:
    cluster.use_runner(ends())
    cluster.create(job({}))
    (pod,) = await cluster.until("pods", lambda pods: "Running" in str(pods))
    cluster.evict(pod["metadata"]["name"])
    assert reason(await finished(cluster)) == "BackoffLimitExceeded"
    (pod,) = cluster.list("pods")
    assert pod["status"]["reason"] == "Evicted"
    assert pod["status"]["conditions"][0]["type"] == "DisruptionTarget"


async def test_a_disruption_that_the_policy_ignores_makes_another_pod(
    cluster: LoopbackCluster,
) -> None:
    cluster.use_runner(ends(ContainerExit(1, pod_reason="NodeLost"), ContainerExit()))
    pattern = {"type": "DisruptionTarget", "status": "True"}
    rules = [{"action": "Ignore", "onPodConditions": [pattern]}]
    cluster.create(job({}, podFailurePolicy={"rules": rules}))
    assert reason(await finished(cluster)) == "CompletionsReached"
    assert len(cluster.list("pods")) == 2


async def test_exit_codes_outside_the_policy_count(cluster: LoopbackCluster) -> None:
    cluster.use_runner(ends(ContainerExit(4), ContainerExit(3)))
    code = {"operator": "In", "values": [3]}
    rules = [{"action": "FailJob", "onExitCodes": code}]
    cluster.create(job({}, backoffLimit=5, podFailurePolicy={"rules": rules}))
    found = await finished(cluster)
    assert (reason(found), found["status"]["failed"]) == ("PodFailurePolicy", 2)


async def test_the_backoff_limit_allows_more_pods(cluster: LoopbackCluster) -> None:
    cluster.use_runner(ends(ContainerExit(1), ContainerExit(1), ContainerExit()))
    cluster.create(job({}, backoffLimit=2))
    found = await finished(cluster)
    assert (found["status"]["failed"], found["status"]["succeeded"]) == (2, 1)


async def test_a_runner_that_breaks_fails_the_pod(cluster: LoopbackCluster) -> None:
    async def broken(pod: RunningPod) -> ContainerExit:
        raise RuntimeError(f"cannot run {pod.namespace}/{pod.name} {pod.uid}")

    cluster.use_runner(broken)
    cluster.create(job({}))
    await finished(cluster)
    assert terminated(cluster)["message"].startswith("cannot run default/collect-")


async def test_a_pod_waits_for_its_node(cluster: LoopbackCluster) -> None:
    cluster.use_runner(ends(ContainerExit()))
    match = {
        "matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}]
    }
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [match]}}
    cluster.create(job({}, pod={"affinity": {"nodeAffinity": required}}))
    await cluster.until("pods", lambda pods: "Unschedulable" in str(pods))
    cluster.seed_node("n1")
    cluster.seed_node("n2")
    await finished(cluster)
    assert cluster.list("pods")[0]["spec"]["nodeName"] == "n2"


async def test_a_pod_waits_for_its_secrets(cluster: LoopbackCluster) -> None:
    cluster.use_runner(ends(ContainerExit()))
    volumes = [
        {"name": "v", "secret": {"secretName": "order"}},
        {"name": "w", "secret": {"secretName": "none", "optional": True}},
    ]
    cluster.create(job({}, pod={"volumes": volumes}))
    await cluster.until("pods", lambda pods: "CreateContainerConfigError" in str(pods))
    cluster.create(secret("unrelated"))
    cluster.create(secret("order"))
    assert reason(await finished(cluster)) == "CompletionsReached"


async def test_a_suspended_job_waits(cluster: LoopbackCluster) -> None:
    cluster.use_runner(ends(ContainerExit()))
    cluster.create(job({}, suspend=True))
    await anyio.wait_all_tasks_blocked()
    assert cluster.list("pods") == []
    cluster.patch("jobs", "collect", {"spec": {"suspend": False}}, "default")
    await finished(cluster)


async def test_finished_jobs_expire_with_their_pods(cluster: LoopbackCluster) -> None:
    cluster.use_runner(ends(ContainerExit()))
    cluster.create(job({}, ttlSecondsAfterFinished=0))
    await cluster.until("pods", lambda pods: len(pods) == 1)
    await cluster.until("jobs", lambda jobs: not jobs)
    await cluster.until("pods", lambda pods: not pods)


async def test_seeded_pods_are_never_run(cluster: LoopbackCluster) -> None:
    cluster.seed_pod("web")
    cluster.seed_pod("slow", status={"phase": "Pending", "containerStatuses": None})
    await anyio.wait_all_tasks_blocked()
    assert [pod["status"]["phase"] for pod in cluster.list("pods")] == ["Pending", "Running"]


async def test_a_deleted_job_leaves_no_task_behind(cluster: LoopbackCluster) -> None:
    cluster.use_runner(ends())
    cluster.create(job({}))
    await cluster.until("pods", lambda pods: "Running" in str(pods))
    cluster.delete("jobs", "collect", "default", propagationPolicy="Foreground")
    await cluster.until("jobs", lambda jobs: not jobs)
    assert cluster.list("pods") == []


async def test_an_orphaned_pod_runs_on_and_can_be_deleted(cluster: LoopbackCluster) -> None:
    cluster.use_runner(ends())
    cluster.create(job({}))
    (pod,) = await cluster.until("pods", lambda pods: "Running" in str(pods))
    cluster.delete("jobs", "collect", "default")
    await cluster.until("jobs", lambda jobs: not jobs)
    assert cluster.list("pods")[0]["status"]["phase"] == "Running"
    cluster.delete("pods", pod["metadata"]["name"], "default")
    await cluster.until("pods", lambda pods: not pods)
