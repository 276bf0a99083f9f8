"""A front for the loopback API server: it adds the admission policy of `deploy/policy`.

Whoever comes without impersonation is the administrator, because kubectl sends no tokens over HTTP.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from aiohttp import web

from forensics_loopback import ADMIN, AccessAttributes, LoopbackCluster, User, rbac
from tests.unit.deploy.admission import Policy, Review, Right
from tests.unit.deploy.manifests import one

GROUP = "forensics.orkaproj.io"
POLICY = "ValidatingAdmissionPolicy podcheckpoints.forensics.orkaproj.io"


@dataclass(frozen=True, slots=True)
class Front:
    """Answers requests, most of them by handing them on."""

    cluster: LoopbackCluster
    policy: Policy

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Refuse what the policy refuses; hand everything else on, with a name to it."""
        user = _user(request)
        headers = request.headers.copy()
        headers["Impersonate-User"] = user.name
        if user.groups:
            headers["Impersonate-Group"] = user.groups[0]
        request = request.clone(headers=headers)
        if request.method == "POST" and request.path.endswith("/podcheckpoints"):
            objections = self.policy.objections(self._review(user, await request.json()))
            if objections:
                return _denied(objections[0])
        return await self.cluster.server.handle(request)

    def _review(self, user: User, asked: dict[str, Any]) -> Review:
        return Review(user.name, asked, rights=frozenset(self._rights(user, asked)))

    def _rights(self, user: User, asked: dict[str, Any]) -> Iterator[Right]:
        decide = rbac(self.cluster.store)
        target, here = asked["spec"]["namespace"], asked["metadata"]["namespace"]
        exec_ = AccessAttributes("create", "pods", subresource="exec", namespace=target)
        if decide(user, exec_):
            yield Right("create", "pods/exec", target)
        if decide(user, AccessAttributes("delegate", "podcheckpoints", GROUP, namespace=here)):
            yield Right("delegate", f"{GROUP}/podcheckpoints", here)


def _user(request: web.Request) -> User:
    name = request.headers.get("Impersonate-User")
    return User(name, ("system:authenticated",)) if name else ADMIN


def _denied(message: str) -> web.Response:
    policy = f"ValidatingAdmissionPolicy '{POLICY}' with binding '{POLICY}'"
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"podcheckpoints is forbidden: {policy} denied request: {message}",
        "reason": "Forbidden",
        "code": 403,
    }
    return web.json_response(body, status=403)


@asynccontextmanager
async def admitting(cluster: LoopbackCluster, path: Path) -> AsyncIterator[Path]:
    """Serve for the block; yields the path of a kubeconfig that leads here."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", Front(cluster, Policy(one(POLICY))).handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    await web.SockSite(runner, listener).start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "front",
                "cluster": {"server": f"http://127.0.0.1:{listener.getsockname()[1]}"},
            }
        ],
        "users": [{"name": "front", "user": {}}],
        "contexts": [{"name": "front", "context": {"cluster": "front", "user": "front"}}],
        "current-context": "front",
    }
    await anyio.Path(path).write_text(json.dumps(config))
    try:
        yield path
    finally:
        await runner.cleanup()
