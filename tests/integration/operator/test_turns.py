"""Many captures of one node: a few at once, the most urgent first, also after a restart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta

import anyio
import pytest

from forensics_core.operator.settings import Settings
from forensics_loopback import Fault, RunningPod
from lab.idle import order_of
from tests.integration.operator.stage import NAMESPACE, Document, Stage, condition

CRASHING = [{"name": "app", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]
NO_QUOTA = {
    "kind": "Status",
    "status": "Failure",
    "reason": "Forbidden",
    "code": 403,
    "message": 'secrets "x" is forbidden: exceeded quota: small, used: secrets=5',
}


def places(stage: Stage, number: int) -> Settings:
    return stage.settings.model_copy(update={"captures_per_node": number})


class Gate:
    """Holds every worker until it is opened, and tells in which order pods were begun."""

    def __init__(self, stage: Stage) -> None:
        self.begun: list[str] = []
        self._opened = anyio.Event()
        self._news = anyio.Event()
        stage.worker.before = self._hold

    async def _hold(self, pod: RunningPod) -> None:
        order, _ = order_of(pod)
        self.begun.append(order.pod.name if order.pod else "")
        self._news.set()
        await self._opened.wait()

    async def began(self, number: int) -> None:
        """Wait until so many have begun."""
        with anyio.fail_after(120):
            while len(self.begun) < number:
                self._news = anyio.Event()
                await self._news.wait()

    def open(self) -> None:
        """Let all go on."""
        self._opened.set()


async def all_wait(stage: Stage, number: int) -> None:
    """Wait until so many checkpoints wait for their place."""

    def busy(items: Mapping[str, Document] | list[Document]) -> bool:
        found = items.values() if isinstance(items, Mapping) else items
        told = [condition(item.get("status", {}), "Captured").get("reason") for item in found]
        return told.count("NodeBusy") == number

    with anyio.fail_after(120):
        await stage.cluster.until("podcheckpoints", busy, NAMESPACE)


@pytest.mark.parametrize("restarted", [False, True])
async def test_dying_and_crash_looping_pods_of_a_node_come_before_the_rest(
    stage: Stage, restarted: bool
) -> None:
    gate = Gate(stage)
    settings = places(stage, 1)
    for name in ("first", "rest", "crashing", "dying"):
        stage.cluster.seed_pod(name)
    status = {"status": {"containerStatuses": CRASHING}}
    stage.cluster.patch("pods", "crashing", _with_id(stage, "crashing", status), "default")
    stage.cluster.patch("pods", "dying", {"metadata": {"finalizers": ["lab/hold"]}}, "default")
    stage.cluster.delete("pods", "dying", "default")
    stage.request("first", pod="first")
    async with stage.operating(settings):
        await gate.began(1)
        for name in ("rest", "crashing", "dying"):
            stage.request(name, pod=name)
        await all_wait(stage, 3)
        if not restarted:
            gate.open()
            for name in ("first", "rest", "crashing", "dying"):
                assert (await stage.finished(name))["phase"] == "Complete"
    if restarted:
        # The next operator knows nothing but what the cluster tells: it counts the one that runs.
        async with stage.operating(settings):
            gate.open()
            for name in ("first", "rest", "crashing", "dying"):
                assert (await stage.finished(name))["phase"] == "Complete"
    assert gate.begun == ["first", "dying", "crashing", "rest"]


def _with_id(stage: Stage, name: str, change: Document) -> Document:
    """Keep the container's ID, without which there is nothing to capture."""
    there = stage.cluster.get("pods", name, "default")["status"]["containerStatuses"][0]
    change["status"]["containerStatuses"][0]["containerID"] = there["containerID"]
    return change


async def test_no_more_are_captured_on_a_node_at_once_than_its_places(stage: Stage) -> None:
    gate = Gate(stage)
    async with stage.operating(places(stage, 2)):
        for number in range(4):
            stage.cluster.seed_pod(f"pod-{number}")
            stage.request(f"c-{number}", pod=f"pod-{number}")
        await gate.began(2)
        await all_wait(stage, 2)
        assert len(gate.begun) == 2
        gate.open()
        for number in range(4):
            assert (await stage.finished(f"c-{number}"))["phase"] == "Complete"


async def test_a_namespace_without_quota_is_told_and_the_capture_goes_on_once_there_is_some(
    stage: Stage,
) -> None:
    refused = Fault(verb="create", resource="secrets", status=403, times=2)
    refused.body = json.dumps(NO_QUOTA)
    stage.cluster.faults.add(refused)
    quick = stage.settings.timings.model_copy(update={"look_again": timedelta(seconds=0.1)})
    async with stage.operating(stage.settings.model_copy(update={"timings": quick})):
        stage.request()
        told = await stage.until(
            lambda item: (
                condition(item.get("status", {}), "Captured").get("reason") == "QuotaExceeded"
            )
        )
        assert "exceeded quota: small" in condition(told["status"], "Captured")["message"]
        assert (await stage.finished())["phase"] == "Complete"
