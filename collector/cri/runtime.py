"""containerd and CRI-O as a `Runtime`: the CRI, and containerd's own services where it is silent.

async with open_cri("containerd") as runtime:
    container = await runtime.find("containerd://shop/web-1/app")
"""

from __future__ import annotations

import difflib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from anyio import to_thread

from collector.cri import images, inspection
from collector.cri._proto import containerd_pb2 as containerd
from collector.cri._proto import runtime_pb2 as cri
from collector.cri.channel import GrpcChannel
from collector.cri.storage import log_names, storage
from collector.files import view
from collector.files.changes import OpenLayers
from collector.files.logfiles import TIMEOUT, LogFiles, open_logs
from collector.files.view import RuntimeStorage
from collector.layers.promised import ImageLayers
from collector.node.abandonable import run_abandonable
from collector.node.host import Host
from collector.runtimes.runtime import (
    ContainerInfo,
    ListedContainer,
    LogStream,
    RuntimeChange,
    RuntimeEvents,
    RuntimeProcesses,
    Unavailable,
    split_reference,
)
from forensics_core.errors import ContainerGone, ContainerNotFound, UsageError

_RUNTIME = "runtime.v1.RuntimeService"
_IMAGES = "runtime.v1.ImageService"
_SNAPSHOTS = "containerd.services.snapshots.v1.Snapshots"
_TASKS = "containerd.services.tasks.v1.Tasks"
MAX_EXECS = 200
"""Exec sessions of one container that are asked for."""
NAMESPACE = "k8s.io"
"""Where the CRI plugin keeps its containers in containerd."""


class CriRuntime:
    """A runtime that speaks version 1 of the CRI, open for reading."""

    def __init__(self, channel: GrpcChannel, scheme: str, host: Host, name: str) -> None:
        self._channel = channel
        self._scheme = scheme
        self._host = host
        self._name = name
        self._containerd = scheme == "containerd"

    @property
    def scheme(self) -> str:
        """`containerd` or `cri-o`."""
        return self._scheme

    @property
    def machine(self) -> Host:
        """The machine that the runtime runs on."""
        return self._host

    async def version(self) -> str:
        """Return the runtime's name and version, as it was when it was opened."""
        return self._name

    async def list(self) -> list[ListedContainer]:
        """Return every container of every pod, the pods' own ones left out."""
        pods = await self._pods()
        return [
            ListedContainer(
                f"{self.scheme}://{row.id}",
                _pod_name(pods.get(row.pod_sandbox_id)),
                row.metadata.name,
                row.image.user_specified_image or row.image.image,
                inspection.STATES.get(row.state, "unknown"),
            )
            for row in await self._containers()
        ]

    async def find(self, reference: str) -> ContainerInfo:
        """Return the container of that ID, beginning of an ID, or `[[NAMESPACE/]POD/]NAME`.

        Raises `UsageError` for a pod's sandbox, and where the container runs in a sandbox itself.
        """
        key = split_reference(reference)[1]
        pods, rows = await self._pods(), await self._containers()
        found = _matching(key, rows, pods)
        if not found:
            raise self._unknown(key, rows, pods)
        if len(found) > 1:
            ids = ", ".join(row.id[:12] for row in found[:5])
            raise UsageError(
                f"'{key}' means {len(found)} containers: {ids}",
                hint="Name it as NAMESPACE/POD/NAME, or give more of its ID",
            )
        container = await self._describe(found[0].id, pods.get(found[0].pod_sandbox_id))
        sandbox = pods.get(found[0].pod_sandbox_id)
        inspection.refuse_if_sandboxed(container, sandbox.runtime_handler if sandbox else "")
        return container

    async def inspect(self, container: ContainerInfo) -> ContainerInfo:
        """Return what the runtime says of the container now."""
        return await self._describe(container.key, None)

    async def image(self, container: ContainerInfo) -> bytes:
        """Return what the runtime says of the container's image."""
        request = cri.ImageStatusRequest(
            image=cri.ImageSpec(image=container.image_id), verbose=True
        )
        said = await self._channel.call(f"{_IMAGES}/ImageStatus", request, cri.ImageStatusResponse)
        if not said.image.id:
            raise ContainerGone(f"The runtime has no image {container.image_id} any more")
        return inspection.image_document(said)

    def changes(
        self, container: ContainerInfo
    ) -> AbstractAsyncContextManager[AsyncIterator[RuntimeChange]]:
        """Raise `Unavailable`: the CRI has no such list."""
        raise Unavailable(
            f"{self.scheme} itself lists no changes of '{container.name}'", reason="NotSupported"
        )

    def export(self, container: ContainerInfo) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Raise `Unavailable`: the CRI makes no archives."""
        raise Unavailable(
            f"{self.scheme} itself makes no archive of '{container.name}'", reason="NotSupported"
        )

    async def events(self, containers: Sequence[ContainerInfo], seconds: int) -> RuntimeEvents:
        """Raise `Unavailable`: the CRI tells events as they come, and keeps none."""
        raise Unavailable(f"{self.scheme} keeps no events of before", reason="NotSupported")

    @asynccontextmanager
    async def layers(self, container: ContainerInfo) -> AsyncIterator[OpenLayers]:
        """Open the layers that containerd's snapshotter, or CRI-O's storage, keeps."""
        async with view.open_layers(await self._storage(container), self._host) as layers:
            yield layers

    async def image_layers(self, container: ContainerInfo) -> ImageLayers:
        """Return what the image promises of the layers; of CRI-O, which keeps no blobs, nothing."""
        if not self._containerd:
            raise Unavailable(
                f"{self.scheme} keeps nothing that layers can be compared with",
                reason="NotSupported",
            )
        view.require_root()
        layers = view.overlay_of(await self._storage(container))
        config = json.loads(await self.image(container))["status"]["id"]
        name = await images.image_name(self._channel, container.key, NAMESPACE)
        names = (config, container.image_id, name)
        target = await images.target(self._channel, names, NAMESPACE)
        store = await images.content_store(self._channel, self._host)
        return await images.unpacked_layers(store, target, config, layers)

    @asynccontextmanager
    async def root(self, container: ContainerInfo) -> AsyncIterator[int]:
        """Open the file system where the shim has it mounted, or merge its layers."""
        place = await self._storage(container)
        async with view.open_root(container, place, self._host) as root:
            yield root

    @asynccontextmanager
    async def log_files(self, container: ContainerInfo) -> AsyncIterator[LogFiles]:
        """Open the container's log, those of its former starts, and rotated ones."""
        path = inspection.log_path(container)
        found = await run_abandonable(TIMEOUT, "the logs", log_names, self._host, path)
        async with open_logs(self._host, found.names, found.unlisted) as logs:
            yield logs

    def logs(
        self, container: ContainerInfo, stream: LogStream
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Raise `Unavailable`: the CRI has files only."""
        raise Unavailable(
            f"{self.scheme} itself shows no log of '{container.name}'", reason="NotSupported"
        )

    async def compare_logs(self, container: ContainerInfo, logs: LogFiles) -> str:
        """Return nothing: there is nothing to compare with."""
        return ""

    async def runtime_processes(self, container: ContainerInfo) -> RuntimeProcesses:
        """Return what containerd says of the container's processes.

        Raises `Unavailable` of CRI-O, which says nothing of them.
        """
        if not self._containerd:
            raise Unavailable(f"{self.scheme} does not list them", reason="NotSupported")
        request = containerd.ListPidsRequest(container_id=container.key)
        said = await self._channel.call(
            f"{_TASKS}/ListPids", request, containerd.ListPidsResponse, namespace=NAMESPACE
        )
        execs, sessions = [], inspection.exec_sessions(said)
        for pid, key in sessions[:MAX_EXECS]:
            if task := await self._task(container.key, key):
                execs.append(inspection.exec_session(pid, task))
        pids = tuple(each.pid for each in said.processes)
        return RuntimeProcesses(pids, tuple(execs), len(sessions) - len(execs))

    async def process(self, container: ContainerInfo) -> int:
        """Return the first process's ID, if it is one of this machine."""
        return await view.local_process(container)

    async def pause(self, container: ContainerInfo) -> None:
        """Freeze the container's processes. Raises `Unavailable` where only CRI-O could."""
        self._require_tasks()
        request = containerd.PauseTaskRequest(container_id=container.key)
        await self._channel.call(f"{_TASKS}/Pause", request, containerd.Empty, namespace=NAMESPACE)

    async def resume(self, container: ContainerInfo) -> None:
        """Let the container's processes go on."""
        self._require_tasks()
        request = containerd.ResumeTaskRequest(container_id=container.key)
        await self._channel.call(f"{_TASKS}/Resume", request, containerd.Empty, namespace=NAMESPACE)

    def _require_tasks(self) -> None:
        if not self._containerd:
            raise Unavailable(
                f"{self.scheme} offers no way to pause a container", reason="NotSupported"
            )

    async def _describe(self, key: str, sandbox: cri.PodSandbox | None) -> ContainerInfo:
        request = cri.ContainerStatusRequest(container_id=key, verbose=True)
        said = await self._channel.call(
            f"{_RUNTIME}/ContainerStatus", request, cri.ContainerStatusResponse
        )
        task = await self._task(key) if self._containerd else None
        return inspection.describe(self.scheme, said, sandbox, task)

    async def _task(self, key: str, session: str = "") -> containerd.Process | None:
        request = containerd.GetTaskRequest(container_id=key, exec_id=session)
        try:
            said = await self._channel.call(
                f"{_TASKS}/Get", request, containerd.GetTaskResponse, namespace=NAMESPACE
            )
        except ContainerGone:  # it has none unless it runs
            return None
        return said.process

    async def _storage(self, container: ContainerInfo) -> RuntimeStorage:
        mounts = await self._mounts(container) if self._containerd else ()
        return await to_thread.run_sync(storage, container, mounts, self._host)

    async def _mounts(self, container: ContainerInfo) -> Sequence[containerd.Mount]:
        said = inspection.details(container)
        request = containerd.MountsRequest(
            snapshotter=str(said.get("snapshotter") or ""),
            key=str(said.get("snapshotKey") or container.key),
        )
        if not request.snapshotter:
            return ()
        answer = await self._channel.call(
            f"{_SNAPSHOTS}/Mounts", request, containerd.MountsResponse, namespace=NAMESPACE
        )
        return answer.mounts

    async def _containers(self) -> Sequence[cri.Container]:
        request = cri.ListContainersRequest()
        said = await self._channel.call(
            f"{_RUNTIME}/ListContainers", request, cri.ListContainersResponse
        )
        return said.containers

    async def _pods(self) -> dict[str, cri.PodSandbox]:
        request = cri.ListPodSandboxRequest()
        said = await self._channel.call(
            f"{_RUNTIME}/ListPodSandbox", request, cri.ListPodSandboxResponse
        )
        return {pod.id: pod for pod in said.items}

    def _unknown(
        self, key: str, rows: Sequence[cri.Container], pods: dict[str, cri.PodSandbox]
    ) -> Exception:
        if any(pod.startswith(key) for pod in pods):
            inside = [row for row in rows if row.pod_sandbox_id.startswith(key)]
            named = ", ".join(f"{row.metadata.name} ({row.id[:12]})" for row in inside)
            return UsageError(
                f"'{key}' is a pod's sandbox, which holds nothing but its namespaces",
                hint=f"Name one of its containers: {named or 'it has none'}",
            )
        names = sorted({_full_name(row, pods) for row in rows})
        near = difflib.get_close_matches(key, names, n=3) or names[:5]
        return ContainerNotFound(
            f"{self._name} at {self._channel.where} knows no container '{key}'",
            hint=f"It has {', '.join(near)}" if near else "It has no containers at all",
        )


def _pod_name(pod: cri.PodSandbox | None) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}" if pod else ""


def _full_name(row: cri.Container, pods: dict[str, cri.PodSandbox]) -> str:
    return f"{_pod_name(pods.get(row.pod_sandbox_id))}/{row.metadata.name}"


def _matching(
    key: str, rows: Sequence[cri.Container], pods: dict[str, cri.PodSandbox]
) -> list[cri.Container]:
    """Return the containers that `key` may mean; where a name means several starts, the newest."""
    exact = [row for row in rows if row.id == key]
    if exact:
        return exact
    named: dict[tuple[str, str], cri.Container] = {}
    for row in sorted(rows, key=lambda row: row.created_at):
        if f"/{_full_name(row, pods)}".endswith(f"/{key}"):
            named[row.pod_sandbox_id, row.metadata.name] = row
    return [*named.values()] or [row for row in rows if row.id.startswith(key)]
