"""A kubelet's part for pods that a test creates: their containers run on Docker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

from forensics_loopback import LoopbackCluster
from lab.docker import DockerEngine
from tests.e2e.pods import CONTAINERS

Document = dict[str, Any]
AT = "2026-03-01T12:00:00Z"


@dataclass
class DockerKubelet:
    """Runs the pods of one namespace, all but those that ask for a special node."""

    cluster: LoopbackCluster
    engine: DockerEngine
    image: str
    """For every container, whatever it asks for."""
    namespace: str
    seen: set[str] = field(default_factory=set)
    started: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve pods for the block; their containers are removed at its end."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._serve)
                yield
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                for container in self.started:
                    await self.engine.remove(container)

    async def _serve(self) -> None:
        while True:
            for pod in self._new(await self.cluster.until("pods", self._new, self.namespace)):
                self.seen.add(pod["metadata"]["uid"])
                if "nodeSelector" not in pod["spec"]:
                    await self._start(pod)

    def _new(self, pods: list[Document]) -> list[Document]:
        return [pod for pod in pods if pod["metadata"]["uid"] not in self.seen]

    async def _start(self, pod: Document) -> None:
        spec = pod["spec"]
        setting_up = spec.get("initContainers") or ()
        status = {
            "phase": "Running",
            "podIP": "127.0.0.1",
            "conditions": [{"type": "Ready", "status": "True"}],
            "initContainerStatuses": [await self._run(one) for one in setting_up],
            "containerStatuses": [await self._run(one) for one in spec["containers"]],
        }
        changes = {"spec": {"nodeName": "node1"}, "status": status}
        self.cluster.patch("pods", pod["metadata"]["name"], changes, self.namespace)

    async def _run(self, container: Document) -> Document:
        made = await self.engine.run(self.image, container["command"])
        self.started.append(made)
        state: Document = {"running": {"startedAt": AT}}
        if CONTAINERS[container["name"]] == "terminated":
            state = {"terminated": {"exitCode": await self.engine.wait(made)}}
        return {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "containerID": f"docker://{made}",
            "state": state,
            "ready": True,
            "restartCount": 0,
        }
