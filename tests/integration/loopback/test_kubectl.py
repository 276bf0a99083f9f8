"""A real kubectl, started by the tests, finds a loopback cluster to its liking."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import pytest

from forensics_loopback import ContainerExit, LoopbackCluster, ProcessRunner, RunningPod, User

KUBECTL = Path(sys.executable).parent / "kubectl"
Kubectl = Callable[..., Coroutine[Any, Any, str]]
SAMPLE = """
apiVersion: forensics.orkaproj.io/v1alpha1
kind: PodCheckpoint
metadata: {name: sample, namespace: rec}
spec: {pod: bad-pod, namespace: shop, destination: "s3://evidence"}
"""


class Failed(Exception):
    """kubectl ended with an error; what it said is the message."""


@pytest.fixture
async def kubectl(cluster: LoopbackCluster, tmp_path: Path) -> Kubectl:
    config = await cluster.kubeconfig(tmp_path / "kubeconfig", namespace="rec")
    env = {"KUBECONFIG": str(config), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}

    async def run(*arguments: str, stdin: str = "") -> str:
        done = await anyio.run_process(
            [str(KUBECTL), *arguments],
            input=stdin.encode(),
            env=env,
            check=False,
            stderr=subprocess.STDOUT,
        )
        text = done.stdout.decode()
        if done.returncode:
            raise Failed(text)
        return text

    return run


@pytest.fixture
async def cluster(definition: dict[str, Any]) -> AsyncIterator[LoopbackCluster]:
    async with LoopbackCluster(runner=ProcessRunner()) as cluster:
        cluster.create(definition)
        cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "rec"}})
        yield cluster


async def test_apply_creates_then_leaves_alone_then_configures(kubectl: Kubectl) -> None:
    assert "created" in await kubectl("apply", "-f", "-", stdin=SAMPLE)
    assert "unchanged" in await kubectl("apply", "-f", "-", stdin=SAMPLE)
    changed = SAMPLE.replace("s3://evidence", "s3://other")
    assert "configured" in await kubectl("apply", "-f", "-", stdin=changed)


async def test_apply_refuses_unknown_fields_and_broken_rules(kubectl: Kubectl) -> None:
    with pytest.raises(Failed, match=r'unknown field "spec\.extra"'):
        await kubectl("apply", "-f", "-", stdin=SAMPLE.replace("{pod:", "{extra: 1, pod:"))
    with pytest.raises(Failed, match=r"destination must be an s3:// URL"):
        await kubectl("apply", "-f", "-", stdin=SAMPLE.replace("s3:", "https:"))


async def test_get_shows_the_printer_columns(kubectl: Kubectl, cluster: LoopbackCluster) -> None:
    await kubectl("apply", "-f", "-", stdin=SAMPLE)
    cluster.patch("podcheckpoints", "sample", {"status": {"phase": "Capturing"}}, "rec")
    for name in ("pcp", "forensics", "podcheckpoints.forensics.orkaproj.io"):
        lines = (await kubectl("get", name)).splitlines()
        assert lines[0].split() == ["NAME", "POD", "PHASE", "AGE"]
        assert lines[1].split()[:3] == ["sample", "bad-pod", "Capturing"]
    assert "rec" in await kubectl("get", "pcp", "-A", "-o", "wide")


async def test_describe_with_its_events(kubectl: Kubectl, cluster: LoopbackCluster) -> None:
    await kubectl("apply", "-f", "-", stdin=SAMPLE)
    uid = cluster.get("podcheckpoints", "sample", "rec")["metadata"]["uid"]
    regarding = {"kind": "PodCheckpoint", "namespace": "rec", "name": "sample", "uid": uid}
    cluster.create(
        {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": "e", "namespace": "rec"},
            "eventTime": "2026-01-01T00:00:00.000000Z",
            "reportingController": "forensics.orkaproj.io/operator",
            "reportingInstance": "op-1",
            "action": "Capture",
            "reason": "CaptureStarted",
            "type": "Normal",
            "note": "capturing the pod",
            "regarding": regarding,
        }
    )
    text = await kubectl("describe", "pcp", "sample")
    assert "Destination:  s3://evidence" in text
    assert "CaptureStarted" in text
    assert "capturing the pod" in text
    assert "capturing the pod" in await kubectl("get", "events")


async def test_explain(kubectl: Kubectl) -> None:
    assert "-required-" in await kubectl("explain", "pcp.spec")


async def test_patch_annotate_and_wait(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=SAMPLE)
    await kubectl("patch", "pcp", "sample", "--type", "merge", "-p", '{"spec":{"cancel":true}}')
    await kubectl("annotate", "pcp", "sample", "a=b")
    condition = "--for=jsonpath={.spec.cancel}=true"
    assert "condition met" in await kubectl("wait", "pcp/sample", condition, "--timeout=20s")
    shown = json.loads(await kubectl("get", "pcp", "sample", "-o", "json"))
    assert shown["metadata"]["generation"] == 2
    assert shown["metadata"]["annotations"]["a"] == "b"


async def test_wait_sees_a_condition_come(kubectl: Kubectl, cluster: LoopbackCluster) -> None:
    await kubectl("apply", "-f", "-", stdin=SAMPLE)
    said: list[str] = []

    async def wait() -> None:
        said.append(
            await kubectl("wait", "pcp/sample", "--for=condition=Complete", "--timeout=20s")
        )

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        while cluster.records.watches == 0:  # noqa: ASYNC110 # kubectl tells nobody when it watches
            await anyio.sleep(0.02)
        condition = {"type": "Complete", "status": "True"}
        cluster.patch("podcheckpoints", "sample", {"status": {"conditions": [condition]}}, "rec")
    assert "condition met" in said[0]


async def test_server_side_apply(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=SAMPLE)
    assert "serverside-applied" in await kubectl("apply", "--server-side", "-f", "-", stdin=SAMPLE)
    other = SAMPLE.replace("s3://evidence", "s3://other")
    arguments = ("apply", "--server-side", "--field-manager=bob", "-f", "-")
    with pytest.raises(Failed, match=r"conflict.*\.spec\.destination"):
        await kubectl(*arguments, stdin=other)
    await kubectl(*arguments, "--force-conflicts", stdin=other)
    assert "s3://other" in await kubectl("get", "pcp", "sample", "-o", "yaml")


async def test_delete_and_namespaces(kubectl: Kubectl, cluster: LoopbackCluster) -> None:
    await kubectl("create", "namespace", "shop")
    await kubectl("apply", "-f", "-", stdin=SAMPLE)
    await kubectl("delete", "pcp", "sample")
    assert cluster.list("podcheckpoints") == []
    await kubectl("apply", "-f", "-", stdin=SAMPLE)
    await kubectl("delete", "namespace", "rec")
    assert cluster.list("podcheckpoints") == []


async def test_secrets_from_literals(kubectl: Kubectl, cluster: LoopbackCluster) -> None:
    await kubectl("create", "secret", "generic", "key", "--from-literal=a=b")
    assert cluster.get("secrets", "key", "rec")["data"] == {"a": "Yg=="}


async def test_auth_can_i(kubectl: Kubectl, cluster: LoopbackCluster) -> None:
    question = ("auth", "can-i", "create", "pods/exec", "-n", "shop", "--as", "alice")
    assert await kubectl(*question) == "yes\n"
    cluster.server.policy = lambda user, asked: (user.name, asked.resource) != ("alice", "pods")
    with pytest.raises(Failed, match="no"):
        await kubectl(*question)
    with pytest.raises(Failed, match="pods is forbidden"):
        await kubectl("delete", "pods", "--all", "--as=alice")


async def test_kubeconfigs_say_who_comes(
    kubectl: Kubectl, cluster: LoopbackCluster, tmp_path: Path
) -> None:
    cluster.enforce_rbac()
    assert "node1" in await kubectl("get", "nodes")
    mallory = await cluster.kubeconfig(tmp_path / "mallory", user=User("mallory"))
    with pytest.raises(Failed, match='User "mallory" cannot list resource "nodes"'):
        await kubectl("get", "nodes", f"--kubeconfig={mallory}")


async def test_get_watches(kubectl: Kubectl, cluster: LoopbackCluster) -> None:
    await kubectl("apply", "-f", "-", stdin=SAMPLE)
    said: list[str] = []

    async def watch() -> None:
        said.append(await kubectl("get", "pcp", "-w", "--request-timeout=3s"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        while cluster.records.watches == 0:  # noqa: ASYNC110 # kubectl tells nobody when it watches
            await anyio.sleep(0.02)
        cluster.patch("podcheckpoints", "sample", {"status": {"phase": "Sealing"}}, "rec")
    assert "Sealing" in said[0]


JOB = """
apiVersion: batch/v1
kind: Job
metadata: {name: talk, namespace: rec}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers: [{name: c, image: x, command: [sh, -c, "echo one; echo two; exit $CODE"],
                    env: [{name: CODE, value: "0"}]}]
"""


async def test_jobs_and_their_logs(kubectl: Kubectl, cluster: LoopbackCluster) -> None:
    await kubectl("apply", "-f", "-", stdin=JOB)
    await kubectl("wait", "job/talk", "--for=condition=Complete", "--timeout=20s")
    assert "unchanged" in await kubectl("apply", "-f", "-", stdin=JOB)
    assert await kubectl("logs", "job/talk", "-f") == "one\ntwo\n"
    assert "Completed" in await kubectl("get", "pods", "-o", "wide")
    assert "1 Succeeded" in await kubectl("describe", "job", "talk")
    await kubectl("delete", "job", "talk")
    await cluster.until("pods", lambda pods: not pods)


async def test_strategic_merge_of_a_built_in(kubectl: Kubectl, cluster: LoopbackCluster) -> None:
    async def forever(pod: RunningPod) -> ContainerExit:
        await anyio.sleep_forever()
        raise AssertionError("never reached")

    cluster.use_runner(forever)
    await kubectl("apply", "-f", "-", stdin=JOB)
    changed = JOB.replace("backoffLimit: 0", "backoffLimit: 0\n  suspend: false").replace(
        "{name: talk,", "{name: talk, labels: {team: blue},"
    )
    assert "configured" in await kubectl("apply", "-f", "-", stdin=changed)
    labels = cluster.get("jobs", "talk", "rec")["metadata"]["labels"]
    assert labels["team"] == "blue"
    assert labels["job-name"] == "talk"
