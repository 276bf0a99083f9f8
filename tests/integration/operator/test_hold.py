"""A held pod is deleted: its containers end, it is captured all the same, and then it goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio

from forensics_core.api.capturerule_crd import capturerule_crd
from forensics_core.api.names import HOLD_FINALIZER
from forensics_loopback import ContainerExit, RunningPod
from tests.integration.operator.stage import NAMESPACE, Document, Stage, condition
from tests.programs import program

CRD = capturerule_crd()
"""Made before any event loop runs: that reads our own source."""
RULE: Document = {
    "apiVersion": "forensics.orkaproj.io/v1alpha1",
    "kind": "CaptureRule",
    "metadata": {"name": "dying", "namespace": NAMESPACE},
    "spec": {"namespaces": ["default"], "events": ["Deleted"], "hold": True},
}


async def pods_are(stage: Stage, met: Callable[[list[Document]], object]) -> None:
    """Wait until `met` says yes to the pods of the namespace."""

    def all_met(items: Any) -> object:
        return met(list(items.values() if isinstance(items, dict) else items))

    with anyio.fail_after(120):
        await stage.cluster.until("pods", all_met, "default")


def held(pods: list[Document]) -> bool:
    """Return whether the one pod is held."""
    return HOLD_FINALIZER in pods[0]["metadata"].get("finalizers", [])


async def test_a_pod_that_is_deleted_by_kubectl_is_captured_after_its_end_and_goes_then(
    stage: Stage,
) -> None:
    stage.cluster.create(CRD)
    stage.cluster.create(RULE)
    there: list[bool] = []

    async def before(_: RunningPod) -> ContainerExit | None:
        # By now kubelet and kernel have done their part, as they do whatever finalizers there are.
        pod = stage.cluster.get("pods", "web-0", "default")
        (container,) = pod["status"]["containerStatuses"]
        ended = container | {"state": {"terminated": {"exitCode": 143, "reason": "Error"}}}
        status = {"phase": "Failed", "containerStatuses": [ended]}
        stage.cluster.patch("pods", "web-0", {"status": status}, "default")
        there.append(held([pod]))
        return None

    stage.worker.before = before
    async with stage.operating():
        await pods_are(stage, held)
        command = [program("kubectl"), "--kubeconfig", str(stage.kubeconfig), "delete", "pod"]
        await anyio.run_process([*command, "web-0", "-n", "default", "--grace-period=0", "--force"])
        await pods_are(stage, lambda pods: not pods)
        (capture,) = stage.cluster.list("podcheckpoints", NAMESPACE)
        status = await stage.finished(capture["metadata"]["name"])
    assert there == [True]
    assert condition(status, "Captured")["status"] == "True"
    assert status["phase"] == "Complete"
