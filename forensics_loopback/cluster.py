"""The loopback cluster: a Kubernetes API on 127.0.0.1 with the controllers that Jobs need."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import TracebackType

import anyio
import anyio.abc
from aiohttp import web

from forensics_loopback.controllers.endpoints import EndpointsController
from forensics_loopback.controllers.jobs import JobController
from forensics_loopback.controllers.replicasets import ReplicaSetController
from forensics_loopback.controllers.scheduler import Scheduler
from forensics_loopback.direct import DirectApi
from forensics_loopback.kinds import pods
from forensics_loopback.kinds.objects import Obj, Objs, clone, uid_of
from forensics_loopback.kinds.resources import Registry, RequestTarget, ServedResource
from forensics_loopback.kinds.seeds import node, running_pod
from forensics_loopback.kubelet.kubelet import Kubelet
from forensics_loopback.kubelet.logs import Logs
from forensics_loopback.kubelet.runner import JobRunner, succeed
from forensics_loopback.server.access import ADMIN, Policy, User, allow_all, rbac
from forensics_loopback.server.faults import Faults
from forensics_loopback.server.requests import Records
from forensics_loopback.server.server import TOKEN, Server
from forensics_loopback.storage.deletion import delete
from forensics_loopback.storage.garbage import GarbageCollector
from forensics_loopback.storage.operations import Operations
from forensics_loopback.storage.patch import merge_patch
from forensics_loopback.storage.store import Store, StoredChange

_DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"


class LoopbackCluster:
    """A small Kubernetes for tests and demos, alive within an `async with` block.

    It listens on 127.0.0.1 without TLS. Requests without a token come from `system:anonymous`, whom
    the default policy allows everything; anybody may impersonate anybody.
    """

    def __init__(
        self,
        *,
        runner: JobRunner = succeed,
        policy: Policy = allow_all,
        nodes: Iterable[str] = ("node1",),
        namespaces: Iterable[str] = ("default", "kube-system"),
        bookmark_interval: float = 60.0,
        workers: bool = True,
        history: int = 10_000,
    ) -> None:
        """`runner` runs the pods of Jobs; `history` is how many changes a watch may lag behind.

        Without `workers`, Jobs wait for controllers and a kubelet that come from outside:
        `python -m forensics_loopback`.
        """
        self.store = Store(history=history)
        self.registry = Registry()
        self.operations = Operations(self.store, self.registry)
        self.faults = Faults(self.store)
        self.records = Records()
        self.logs = Logs()
        self.server = Server(
            self.operations,
            self.faults,
            self.records,
            self.logs,
            policy=policy,
            bookmark_interval=bookmark_interval,
        )
        self.store.listeners += [self._serve_definitions, self._forget_logs]
        self._garbage = GarbageCollector(self.operations)
        api = DirectApi(self.operations)
        self._kubelet = Kubelet(api, self.logs, runner)
        controllers = (JobController(api), ReplicaSetController(api), EndpointsController(api))
        parts = (*(one.run for one in controllers), Scheduler(api).run, self._kubelet.run)
        self._workers = parts if workers else ()
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._stop = anyio.Event()
        self._main: asyncio.Task[None] | None = None
        self._seed(nodes, namespaces)

    def _seed(self, nodes: Iterable[str], namespaces: Iterable[str]) -> None:
        self.store.listeners.append(self._create_default_account)
        for name in namespaces:
            self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for name in nodes:
            self.seed_node(name)

    def _create_default_account(self, change: StoredChange) -> None:
        if change.key == "namespaces" and change.type == "ADDED":
            meta = {"name": "default", "namespace": change.object["metadata"]["name"]}
            self.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})

    def _forget_logs(self, change: StoredChange) -> None:
        if change.key == "pods" and change.type == "DELETED":
            self.logs.forget(uid_of(change.object))

    def _serve_definitions(self, change: StoredChange) -> None:
        if change.key != _DEFINITIONS:
            return
        if change.type == "DELETED":
            key = change.object["metadata"]["name"]
            for obj in self.store.objects(key):
                self.store.remove(key, obj)
            self.registry.withdraw(change.object)
        else:
            self.registry.define(change.object)

    async def __aenter__(self) -> LoopbackCluster:
        """Start to listen."""
        ready = anyio.Event()
        # A task of its own rather than a task group here: pytest-asyncio enters and leaves fixtures
        # in different tasks, which a cancel scope may not span. `__aexit__` awaits it.
        self._main = asyncio.create_task(self._live(ready), name="loopback-cluster")
        waiter = asyncio.create_task(ready.wait())
        await asyncio.wait({self._main, waiter}, return_when=asyncio.FIRST_COMPLETED)
        if self._main.done():
            waiter.cancel()
            await self._main
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cut all connections, end all pods; raises what a controller failed with."""
        self._stop.set()
        if self._main is not None:
            await self._main

    async def _live(self, ready: anyio.Event) -> None:
        async with anyio.create_task_group() as tasks:
            for worker in self._workers:
                tasks.start_soon(worker)
            tasks.start_soon(self._garbage.run)
            await self._listen()
            ready.set()
            try:
                await self._stop.wait()
            finally:
                with anyio.CancelScope(shield=True):
                    await self._hang_up()
            tasks.cancel_scope.cancel()

    async def _listen(self) -> None:
        self._runner = web.AppRunner(
            self.server.application(),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=1.0,
        )
        await self._runner.setup()
        # Unlike `socket.socket`, this closes the socket again where the port is taken.
        listener = socket.create_server(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        await web.SockSite(self._runner, listener).start()

    async def _hang_up(self) -> None:
        if self._runner is None:
            return
        runner, self._runner = self._runner, None
        for site in list(runner.sites):
            await site.stop()
        self._cut(runner)
        await runner.cleanup()

    def _cut(self, runner: web.AppRunner | None) -> None:
        server = runner.server if runner else None
        for connection in server.connections if server else ():
            if connection.transport is not None:
                connection.transport.abort()

    def enforce_rbac(self) -> None:
        """From now on the roles and bindings in the cluster say who may do what."""
        self.server.policy = rbac(self.store)

    def use_runner(self, runner: JobRunner) -> None:
        """Run the pods that start from now on in another way."""
        self._kubelet.runner = runner

    @property
    def url(self) -> str:
        """Where the API is: `http://127.0.0.1:41234`."""
        return f"http://127.0.0.1:{self._port}"

    async def kubeconfig(
        self, path: Path, *, namespace: str = "default", user: User = ADMIN
    ) -> Path:
        """Write a kubeconfig for this cluster, with which one comes as `user`; returns its path."""
        token = TOKEN if user == ADMIN else f"{TOKEN}:{user.name}"
        self.server.tokens[token] = user
        target = anyio.Path(path)
        await target.write_text(_kubeconfig(self.url, user, token, namespace))
        await target.chmod(0o600)
        return path

    def break_streams(self) -> None:
        """Reset every open connection: all watches and followed logs break off."""
        self._cut(self._runner)

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Within the block nothing listens on the port; Jobs and pods go on."""
        await self._hang_up()
        try:
            yield
        finally:
            await self._listen()

    def expire_history(self) -> None:
        """Compact: watches that resume from before now are answered 410."""
        self.store.expire()

    def create(self, obj: Obj) -> Obj:
        """Create an object as a client would, past HTTP, faults and records; raises ApiError.

        A status is kept where the kind has no such rule as custom resources have.
        """
        resource = self.registry.of(obj)
        namespace = obj["metadata"].get("namespace", "default") if resource.namespaced else ""
        return self.operations.create(resource, namespace, clone(obj)).object

    def get(self, resource: str, name: str, namespace: str = "") -> Obj:
        """The object of a plural name, qualified or not: `jobs`, `jobs.batch`; raises a 404.

        It belongs to the store: take a copy before changing it.
        """
        return self.operations.get(self._target(resource, name, namespace))

    def list(self, resource: str, namespace: str = "") -> Objs:
        """The objects in one namespace, or in all."""
        return self.store.objects(self.registry.named(resource).qualified, namespace)

    async def until(
        self, resource: str, met: Callable[[Objs], object], namespace: str = ""
    ) -> Objs:
        """Wait until `met` says yes to the resource's objects, and return them. No polling."""
        key = self.registry.named(resource).qualified
        while True:
            pulse, found = self.store.pulse(key), self.store.objects(key, namespace)
            if met(found):
                return found
            await pulse.wait()

    def patch(self, resource: str, name: str, change: Obj, namespace: str = "") -> Obj:
        """Merge a change into an object, status included, whatever the rules for clients are."""
        target = self._target(resource, name, namespace)
        current = self.operations.get(target)

        def merge(obj: Obj) -> None:
            merged: Obj = merge_patch(obj, change)
            obj.clear()
            obj.update(merged)

        return self.operations.amend(target.resource.qualified, current, merge) or current

    def delete(self, resource: str, name: str, namespace: str = "", **options: str) -> None:
        """Delete an object; `options` as in DeleteOptions: `propagationPolicy="Background"`."""
        delete(self.operations, self._target(resource, name, namespace), dict(options))

    def _target(self, resource: str, name: str, namespace: str) -> RequestTarget:
        found: ServedResource = self.registry.named(resource)
        return RequestTarget(found, namespace if found.namespaced else "", name)

    def seed_node(self, name: str = "node1", **changes: Obj) -> Obj:
        """Add a node that is ready; `changes` are merged into it: `metadata={...}`."""
        return self.create(merge_patch(node(name), changes))

    def seed_pod(self, name: str, namespace: str = "default", **changes: Obj) -> Obj:
        """Add a running pod with one container, as the kubelet would show it.

        `changes` are merged into it: `spec={"nodeName": "node2"}`. Nothing runs.
        """
        return self.create(merge_patch(running_pod(name, namespace), changes))

    def evict(self, name: str, namespace: str = "default", reason: str = "Evicted") -> None:
        """End a pod as the kubelet does under pressure: phase Failed, a DisruptionTarget."""
        pod = self.get("pods", name, namespace)
        self.operations.amend("pods", pod, partial(pods.disrupted, reason=reason))

    def write_log(
        self, name: str, text: str, namespace: str = "default", container: str = ""
    ) -> None:
        """Append to the log of a pod's container, by default its first."""
        pod = self.get("pods", name, namespace)
        container = container or pod["spec"]["containers"][0]["name"]
        self.logs.of(pod["metadata"]["uid"], container).write(text.encode())


def _kubeconfig(url: str, user: User, token: str, namespace: str) -> str:
    """A kubeconfig's text: JSON, which is YAML too.

    It says twice who comes: kubectl sends tokens over TLS only, but impersonates over HTTP too.
    """
    identity = {"token": token, "as": user.name, "as-groups": list(user.groups)}
    context = {"cluster": "loopback", "user": "loopback", "namespace": namespace}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "loopback", "cluster": {"server": url}}],
        "users": [{"name": "loopback", "user": identity}],
        "contexts": [{"name": "loopback", "context": context}],
        "current-context": "loopback",
    }
    return json.dumps(config, indent=2)
