"""The kubelet's checkpoint API, over TLS: `POST /checkpoint/NAMESPACE/POD/CONTAINER`.

    async def criu(pod: Obj, container: str) -> str:  # where the archive is on the node
        raise CheckpointError("rpc error: code = Unknown desc = CRIU is not installed")

    async with checkpoint_api(cluster, "node1", criu, tls):
        ...

It answers as a real one does: 401 and 403 by the cluster's own word on `create nodes/checkpoint`,
404 without the feature gate, for pods and for containers that there are not, 500 with what the
runtime says, 200 with the path. The logs of the node's pods are served beside it.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
from aiohttp import web

from forensics_loopback.cluster import LoopbackCluster
from forensics_loopback.kinds.objects import Obj
from forensics_loopback.kinds.status import ApiError
from forensics_loopback.kubelet.logs import application
from forensics_loopback.server.access import AccessAttributes
from forensics_loopback.server.podlogs import SCHEME

Checkpointer = Callable[[Obj, str], Awaitable[str]]
"""Checkpoints a container of a pod, and returns where on the node the archive is."""


class CheckpointError(Exception):
    """What the runtime says when it cannot."""


@dataclass(frozen=True, slots=True)
class _KubeletApi:
    cluster: LoopbackCluster
    node: str
    checkpointer: Checkpointer | None
    """None: the feature gate ContainerCheckpoint is off."""

    async def handle(self, request: web.Request) -> web.Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        if self.checkpointer is None:
            return web.Response(status=404, text="404 page not found\n")
        asked = request.match_info
        namespace, name, container = asked["namespace"], asked["pod"], asked["container"]
        try:
            pod = self.cluster.get("pods", name, namespace)
        except ApiError:
            return web.Response(status=404, text="pod does not exist")
        if container not in _names(pod):
            return web.Response(status=404, text=f"container {container} does not exist")
        try:
            path = await self.checkpointer(pod, container)
        except CheckpointError as error:
            what = f"checkpointing of {namespace}/{name}/{container} failed ({error})"
            return web.Response(status=500, text=what)
        return web.json_response(text=json.dumps({"items": [path]}, separators=(",", ":")))

    def _refusal(self, request: web.Request) -> web.Response | None:
        server = self.cluster.server
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        user = server.tokens.get(token)
        if user is None:
            return web.Response(status=401, text="Unauthorized")
        wanted = AccessAttributes("create", "nodes", subresource="checkpoint", name=self.node)
        if server.policy(user, wanted):
            return None
        return web.Response(
            status=403,
            text=f"Forbidden (user={user.name}, verb=create, resource=nodes, "
            "subresource(s)=[checkpoint])",
        )


def _names(pod: Obj) -> set[str]:
    spec = pod["spec"]
    groups = ("containers", "initContainers", "ephemeralContainers")
    return {one["name"] for group in groups for one in spec.get(group) or ()}


@asynccontextmanager
async def checkpoint_api(
    cluster: LoopbackCluster, node: str, checkpointer: Checkpointer | None, tls: ssl.SSLContext
) -> AsyncIterator[None]:
    """Let `node` of the cluster serve it for the block; without `checkpointer`, the gate is off."""
    app = application(cluster.logs)
    api = _KubeletApi(cluster, node, checkpointer)
    app.router.add_post("/checkpoint/{namespace}/{pod}/{container}", api.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        listener = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(runner, listener, ssl_context=tls).start()
        port = listener.getsockname()[1]
        change = {
            "metadata": {"annotations": {SCHEME: "https"}},
            "status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": port}}},
        }
        cluster.patch("nodes", node, change)
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()
