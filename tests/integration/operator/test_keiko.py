"""PodCheckpoints of the group forensics.keikoproj.io, with a real kubectl."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from forensics_core.kube.connection import connect
from forensics_core.operator.keiko.mirror import KeikoMirror
from forensics_core.operator.settings import Settings
from forensics_loopback import ContainerExit, Fault, RunningPod
from tests.integration.operator.stage import NAMESPACE, Document, Stage
from tests.unit.deploy.manifests import KEIKO, KUBECTL, one

THEIRS, OURS = "podcheckpoints.forensics.keikoproj.io", "podcheckpoints.forensics.orkaproj.io"
SAMPLE = """
apiVersion: forensics.keikoproj.io/v1alpha1
kind: PodCheckpoint
metadata:
  name: podcheckpoint-sample
  namespace: forensics-system
spec:
  destination: {destination}
  subpath: forensics
  pod: {pod}
  namespace: default
"""
Kubectl = Callable[..., Coroutine[Any, Any, str]]


@pytest.fixture
async def kubectl(stage: Stage, tmp_path: Path) -> Kubectl:
    env = {
        "KUBECONFIG": str(stage.kubeconfig),
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
    }

    async def run(*arguments: str, stdin: str = "") -> str:
        done = await anyio.run_process(
            [str(KUBECTL), "-n", NAMESPACE, *arguments],
            input=stdin.encode(),
            env=env,
            stderr=subprocess.STDOUT,
        )
        return done.stdout.decode()

    return run


def serving(stage: Stage) -> Settings:
    """Install the definition, and return settings that serve it."""
    stage.cluster.create(one(f"CustomResourceDefinition {THEIRS}", KEIKO))
    return stage.settings.model_copy(update={"keiko": True})


def sample(stage: Stage, pod: str = "web-0") -> str:
    return SAMPLE.format(destination=f"s3://{stage.bucket}", pod=pod)


async def until(stage: Stage, resource: str, met: Callable[[list[Document]], object]) -> None:
    def all_of(items: Mapping[str, Document] | list[Document]) -> object:
        return met(list(items.values()) if isinstance(items, Mapping) else items)

    with anyio.fail_after(120):
        await stage.cluster.until(resource, all_of, NAMESPACE)


def over(items: list[Document]) -> bool:
    return bool(items) and all("completionTime" in one.get("status", {}) for one in items)


async def test_a_manifest_of_the_older_group_works_as_it_stands(
    stage: Stage, kubectl: Kubectl
) -> None:
    async with stage.operating(serving(stage)):
        assert "created" in await kubectl("apply", "-f", "-", stdin=sample(stage))
        await until(stage, THEIRS, over)
        (ours,) = stage.cluster.list(OURS, NAMESPACE)
        assert ours["status"]["phase"] == "Complete"
        assert ours["spec"]["pod"] == "web-0"
        told = await kubectl("describe", THEIRS, "podcheckpoint-sample")
        for line in (
            r"Start Time: +20\d\d-",
            r"Completion Time: +20\d\d-",
            r"Succeeded: +1",
            r"Last Probe Time: +20\d\d-",
            r"Type: +Complete",
        ):
            assert re.search(line, told)
        # The same manifest once more changes nothing.
        assert "unchanged" in await kubectl("apply", "-f", "-", stdin=sample(stage))
        listed = await kubectl("get", THEIRS)
        assert "podcheckpoint-sample" in listed and "SUCCEEDED" in listed
        # Deleting theirs takes ours with it.
        await kubectl("delete", THEIRS, "podcheckpoint-sample")
        await until(stage, OURS, lambda items: not items)


async def test_a_pod_that_does_not_exist_gives_the_answer_that_it_always_gave(
    stage: Stage, kubectl: Kubectl
) -> None:
    async with stage.operating(serving(stage)):
        await kubectl("apply", "-f", "-", stdin=sample(stage, "bad-pod"))
        await until(stage, THEIRS, over)
        told = await kubectl("describe", THEIRS, "podcheckpoint-sample")
        assert "The specified Pod 'bad-pod' was not found in the 'default' namespace." in told
        assert "Reason:                NotFound" in told
        # Deleting ours takes theirs with it.
        (ours,) = stage.cluster.list(OURS, NAMESPACE)
        await kubectl("delete", OURS, ours["metadata"]["name"])
        await until(stage, THEIRS, lambda items: not items)


async def test_deleting_theirs_stops_a_capture_that_is_under_way(
    stage: Stage, kubectl: Kubectl
) -> None:
    begun = anyio.Event()

    async def stay(pod: RunningPod) -> ContainerExit | None:
        begun.set()
        await anyio.sleep_forever()
        return None

    stage.worker.before = stay
    async with stage.operating(serving(stage)):
        await kubectl("apply", "-f", "-", stdin=sample(stage))
        with anyio.fail_after(120):
            await begun.wait()
        await kubectl("delete", "--wait=false", THEIRS, "podcheckpoint-sample")
        await until(stage, OURS, lambda items: not items)
        assert stage.cluster.list("jobs", NAMESPACE) == []


async def test_a_cluster_that_does_not_know_them_is_no_trouble(stage: Stage) -> None:
    absent = stage.settings.model_copy(update={"keiko": True})
    stage.request()
    async with stage.operating(absent):
        assert (await stage.finished())["phase"] == "Complete"


async def test_once_the_cluster_knows_them_they_are_served(stage: Stage, kubectl: Kubectl) -> None:
    """Without an operator for ours: that one is made, and what is wrong with one is told."""
    serving(stage)
    # Each of the two watches may meet that first.
    stage.cluster.faults.add(Fault(verb="list", resource="podcheckpoints", status=404, times=3))
    async with connect(stage.kubeconfig) as cluster, anyio.create_task_group() as tasks:
        tasks.start_soon(KeikoMirror(cluster, NAMESPACE, pause=0.05).run)
        # The answer to the operator's own request is lost: what is made is made once.
        there = {"kind": "Status", "reason": "AlreadyExists", "code": 409}
        stage.cluster.faults.add(
            Fault(
                verb="create",
                resource="podcheckpoints",
                status=409,
                body=json.dumps(there),
                executed=True,
                skip=1,
            )
        )
        # So is that to the next one, which says that theirs has changed since.
        stage.cluster.faults.add(Fault(verb="patch", resource="podcheckpoints", status=409))
        await kubectl("apply", "-f", "-", stdin=sample(stage))
        await until(stage, OURS, lambda items: len(items) == 1)
        await until(stage, THEIRS, lambda items: "ownerReferences" in items[0]["metadata"])
        bad = sample(stage).replace("podcheckpoint-sample", "bad").replace("s3://", "http://")
        await kubectl("apply", "-f", "-", stdin=bad)
        await until(stage, THEIRS, bad_is_over)
        told = stage.cluster.get(THEIRS, "bad", NAMESPACE)["status"]["conditions"][0]
        assert told["reason"] == "UsageError" and "destination" in told["message"]
        # One of ours that this release cannot read stops nothing else.
        (ours,) = stage.cluster.list(OURS, NAMESPACE)
        odd = {"status": {"phase": "Nonsense"}}
        stage.cluster.patch(OURS, ours["metadata"]["name"], odd, NAMESPACE)
        other = sample(stage).replace("podcheckpoint-sample", "other")
        await kubectl("apply", "-f", "-", stdin=other)
        await until(stage, OURS, lambda items: len(items) == 2)
        tasks.cancel_scope.cancel()


def bad_is_over(items: list[Document]) -> bool:
    return over([one for one in items if one["metadata"]["name"] == "bad"])


@pytest.mark.parametrize(
    ("message", "final"),
    [("PodCheckpoints denied request: no", True), ("podcheckpoints is forbidden: no right", False)],
)
async def test_what_admission_refuses_is_final_and_a_missing_right_is_waited_for(
    stage: Stage, kubectl: Kubectl, message: str, final: bool
) -> None:
    serving(stage)
    refusal = Fault(verb="create", resource="podcheckpoints", status=403, skip=1)
    refusal.body = (
        f'{{"kind":"Status","status":"Failure","reason":"Forbidden","message":"{message}"}}'
    )
    async with connect(stage.kubeconfig) as cluster, anyio.create_task_group() as tasks:
        tasks.start_soon(KeikoMirror(cluster, NAMESPACE).run)
        stage.cluster.faults.add(refusal)
        await kubectl("create", "-f", "-", stdin=sample(stage))
        if final:
            await until(stage, THEIRS, over)
            assert stage.cluster.list(OURS, NAMESPACE) == []
        else:
            await until(stage, OURS, lambda items: len(items) == 1)
        tasks.cancel_scope.cancel()


async def test_a_name_that_is_somebody_elses_is_told(stage: Stage, kubectl: Kubectl) -> None:
    serving(stage)
    await kubectl("create", "-f", "-", stdin=sample(stage))
    (theirs,) = stage.cluster.list(THEIRS, NAMESPACE)
    stage.request(f"podcheckpoint-sample-{theirs['metadata']['uid'][:8]}")
    async with connect(stage.kubeconfig) as cluster, anyio.create_task_group() as tasks:
        tasks.start_soon(KeikoMirror(cluster, NAMESPACE).run)
        await until(stage, THEIRS, over)
        tasks.cancel_scope.cancel()
    (theirs,) = stage.cluster.list(THEIRS, NAMESPACE)
    assert "somebody else's" in theirs["status"]["conditions"][0]["message"]
