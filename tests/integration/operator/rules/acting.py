"""Rules at work over a loopback cluster, without captures: what matters is what is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio

from forensics_core.api.capturerule_crd import capturerule_crd
from forensics_core.api.crd import crd
from forensics_core.kube.connection import ClusterConnection, connect
from forensics_core.kube.events import event_recorder
from forensics_core.kube.podcheckpoints import PodCheckpoints
from forensics_core.operator.rules.controller import RuleController
from forensics_core.operator.rules.history import CaptureHistory
from forensics_core.operator.settings import Settings
from forensics_core.operator.shared.metrics import Metrics
from forensics_loopback import LoopbackCluster
from forensics_loopback.kinds.objects import now

NAMESPACE = "forensics-system"
KINDS = (crd(), capturerule_crd())
"""Made before any event loop runs: that reads our own source."""
SOON = 60.0
"""Seconds that a busy machine may take for what happens at once."""
Document = dict[str, Any]


@dataclass
class Acting:
    """A cluster with rules at work on it."""

    cluster: LoopbackCluster
    kubeconfig: Path
    settings: Settings
    metrics: Metrics

    def rule(self, name: str = "dying", *events: str, **spec: Any) -> Document:
        """Create a rule for the namespace `default`, as `kubectl create` would."""
        body = {
            "apiVersion": "forensics.orkaproj.io/v1alpha1",
            "kind": "CaptureRule",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"namespaces": ["default"], "events": list(events), **spec},
        }
        return self.cluster.create(body)

    def status(self, name: str = "dying") -> Document:
        """Return a rule's status as it is now."""
        found: Document = self.cluster.get("capturerules", name, NAMESPACE).get("status") or {}
        return found

    async def told(self, met: Callable[[Document], object], name: str = "dying") -> Document:
        """Wait until `met` says yes to a rule's status, and return it."""

        def one_met(items: Any) -> object:
            found = items.values() if isinstance(items, dict) else items
            return [
                item
                for item in found
                if item["metadata"]["name"] == name and met(item.get("status") or {})
            ]

        with anyio.fail_after(SOON):
            await self.cluster.until("capturerules", one_met, NAMESPACE)
        return self.status(name)

    async def begun(self, rules: RuleController, name: str = "dying") -> Document:
        """Wait until a rule is acted on and the pods are known; return its status."""
        status = await self.told(active, name)
        with anyio.fail_after(SOON):
            while not rules.ready:  # noqa: ASYNC110 # nobody tells
                await anyio.sleep(0.01)
        return status

    async def captures(self, count: int) -> list[Document]:
        """Wait for so many PodCheckpoints, and return them."""
        with anyio.fail_after(SOON):
            await self.cluster.until("podcheckpoints", lambda found: len(found) >= count, NAMESPACE)
        return list(self.cluster.list("podcheckpoints", NAMESPACE))

    async def captured(self, count: int, name: str = "dying") -> Document:
        """Wait until a rule's status tells of so many captures, and return it."""
        return await self.told(lambda status: status.get("captured", 0) >= count, name)

    async def held(self, reason: str, name: str = "dying") -> Document:
        """Wait until a rule's status tells of something held back for a reason, and return it."""
        return await self.told(lambda status: reason in reasons(status), name)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[RuleController]:
        """Have the rules acted on for the block, by a leader that begins with what there is."""
        history = CaptureHistory()
        async with connect(self.kubeconfig) as connection:
            await _recall(connection, history)
            async with (
                event_recorder(connection, "forensics.orkaproj.io/operator", "me") as events,
                anyio.create_task_group() as tasks,
            ):
                rules = RuleController(connection, self.settings, events, self.metrics, history)
                tasks.start_soon(rules.run)
                tasks.start_soon(_learn, connection, history)
                yield rules
                tasks.cancel_scope.cancel()


async def _recall(connection: ClusterConnection, history: CaptureHistory) -> None:
    for checkpoint in await PodCheckpoints(connection, NAMESPACE).list():
        history.learn(checkpoint)


async def _learn(connection: ClusterConnection, history: CaptureHistory) -> None:
    async with PodCheckpoints(connection, NAMESPACE).watch() as events:
        async for event in events:
            if event.checkpoint is not None:
                history.learn(event.checkpoint, gone=event.type == "DELETED")


def reasons(status: Document) -> dict[str, int]:
    """Return how often something was held back for each reason."""
    held = (status.get("heldBack") or {}).get("reasons", [])
    return {one["reason"]: one["count"] for one in held}


def active(status: Document) -> str:
    """Return the reason of the condition Active; empty if there is none."""
    found = [one["reason"] for one in status.get("conditions", []) if one["type"] == "Active"]
    return found[0] if found else ""


def ended(reason: str, code: int = 1, at: str | None = None) -> Document:
    """Return a container's state once it has ended, now unless it says otherwise."""
    return {"terminated": {"reason": reason, "exitCode": code, "finishedAt": at or now()}}


def crashed(cluster: LoopbackCluster, name: str, restarts: int = 3, **more: Any) -> None:
    """Have a pod's container wait after a crash, as the kubelet shows it."""
    state = {"waiting": {"reason": "CrashLoopBackOff"}}
    change = {"state": state, "lastState": ended("Error"), "restartCount": restarts} | more
    change_container(cluster, name, change)


def change_container(cluster: LoopbackCluster, name: str, change: Document) -> None:
    """Change the status of a pod's only container."""
    pod = cluster.get("pods", name, "default")
    container = pod["status"]["containerStatuses"][0] | change
    cluster.patch("pods", name, {"status": {"containerStatuses": [container]}}, "default")


@asynccontextmanager
async def open_acting(folder: Path, **settings: Any) -> AsyncIterator[Acting]:
    """Open a cluster with one running pod, `default/web-0`, that knows both kinds."""
    rule = {"prefix": "s3://cases", "credentials": {"secret": "collector-s3"}}
    values = {"destinations": [rule], "defaultDestination": "s3://cases", **settings}
    made = Settings.model_validate(values)
    waits = {"rule_status": timedelta(milliseconds=20), "overlay": timedelta(milliseconds=50)}
    made = made.model_copy(update={"timings": made.timings.model_copy(update=waits)})
    namespaces = ("default", "shop", "kube-system", NAMESPACE, "forensics-operator")
    async with LoopbackCluster(namespaces=namespaces, workers=False) as cluster:
        for kind in KINDS:
            cluster.create(kind)
        cluster.seed_pod("web-0")
        kubeconfig = await cluster.kubeconfig(folder / "kubeconfig")
        yield Acting(cluster, kubeconfig, made, Metrics())
