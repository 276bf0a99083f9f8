"""A node that joins a cluster over HTTP: registered, ready, with a kubelet that runs pods here.

It needs a kubeconfig and nothing else, so that it also joins an API server that is none of ours.
Such a cluster has a scheduler and a Job controller of its own.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol

import anyio
from aiohttp import web

from forensics_core.kube.resources import NODES
from forensics_loopback.client.api import Api, amend
from forensics_loopback.kinds.objects import Obj, clone, now
from forensics_loopback.kinds.seeds import node as ready_node
from forensics_loopback.kubelet.kubelet import Kubelet
from forensics_loopback.kubelet.logs import Logs, application
from forensics_loopback.kubelet.runner import JobRunner

HEARTBEAT = 10.0
"""Seconds; a node controller takes a node for lost after forty."""
SHORT = 1.0
"""Seconds that who follows a log gets when the node stops."""


class Runnable(Protocol):
    """What runs beside the kubelet: a scheduler, a Job controller."""

    async def run(self) -> None:
        """Work until cancelled."""


async def join(
    api: Api, name: str, runner: JobRunner, *workers: Runnable, heartbeat: float = HEARTBEAT
) -> None:
    """Be the node `name` until cancelled, which ends its pods; `workers` run beside."""
    logs = Logs()
    async with _serving(logs) as port:
        node = await _register(api, name, port)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_beat, api, node, heartbeat)
            tasks.start_soon(Kubelet(api, logs, runner, {name}).run)
            for worker in workers:
                tasks.start_soon(worker.run)


async def _register(api: Api, name: str, port: int) -> Obj:
    wanted = ready_node(name)
    status = {
        **wanted["status"],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    there = await api.get(NODES, name)
    node = there or await api.create(NODES, wanted)
    await amend(api, NODES, node, partial(_set_status, status=status))
    return node


def _set_status(node: Obj, status: Obj) -> None:
    node["status"] = {**(node.get("status") or {}), **clone(status)}


async def _beat(api: Api, node: Obj, interval: float) -> None:
    def live(current: Obj) -> None:
        for condition in current["status"]["conditions"]:
            if condition["type"] == "Ready":
                condition.update(status="True", lastHeartbeatTime=now())

    while True:
        await anyio.sleep(interval)
        await amend(api, NODES, node, live)


@asynccontextmanager
async def _serving(logs: Logs) -> AsyncIterator[int]:
    """Serve logs; yields the port."""
    runner = web.AppRunner(
        application(logs), access_log=None, handler_cancellation=True, shutdown_timeout=SHORT
    )
    await runner.setup()
    try:
        listener = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(runner, listener).start()
        yield listener.getsockname()[1]
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()
