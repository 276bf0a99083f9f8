"""The kubelet: runs the pods of Jobs that are bound to its nodes, to their end.

A client of the API. Only pods that a Job controls are run: whatever else a test creates stays as
the test made it.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Collection, Iterator, Mapping
from functools import partial

import anyio
import anyio.abc

from forensics_core.kube.listwatch import EventType, WatchEvent
from forensics_core.kube.resources import PODS, SECRETS, Resource
from forensics_loopback.client.api import CONFIG_MAPS, Api, ObjectTasks, amend
from forensics_loopback.kinds.objects import (
    Obj,
    is_deleting,
    lookup,
    name_of,
    namespace_of,
    uid_of,
)
from forensics_loopback.kinds.pods import has_ended, owner_job
from forensics_loopback.kubelet import podstatus
from forensics_loopback.kubelet.logs import Logs
from forensics_loopback.kubelet.runner import ContainerExit, JobRunner, RunningPod

_log = logging.getLogger(__name__)
VolumeSources = dict[tuple[str, str], Mapping[str, bytes]]
"""The decoded data of Secrets and ConfigMaps, by plural and name."""


class Kubelet:
    """Runs pods, each in a task of its own that ends with the pod."""

    def __init__(
        self, api: Api, logs: Logs, runner: JobRunner, nodes: Collection[str] | None = None
    ) -> None:
        """`nodes`: whose pods to run; None runs those of all nodes."""
        self.runner = runner
        self._api = api
        self._logs = logs
        self._nodes = nodes
        self._known: set[str] = set()
        """The UIDs of the pods that were begun and still exist: events of the past come late."""

    async def run(self) -> None:
        """Run pods until cancelled, which ends them."""
        async with anyio.create_task_group() as tasks:
            running = ObjectTasks(tasks)
            async with self._api.watch(PODS) as events:
                synced = False
                async for event in events:
                    if event.type is EventType.SYNCED:
                        synced = True
                    else:
                        self._note(event, running, lost=not synced)

    def _note(self, event: WatchEvent, running: ObjectTasks, *, lost: bool) -> None:
        pod = event.object
        if event.type is EventType.DELETED:
            self._known.discard(uid_of(pod))
            self._logs.forget(uid_of(pod))
        if event.type is EventType.DELETED or is_deleting(pod) or has_ended(pod):
            known = running.cancel(pod) or uid_of(pod) in self._known
            if not known and is_deleting(pod) and self._is_mine(pod):
                running.start(self._finish, pod)
        elif self._is_mine(pod) and uid_of(pod) not in self._known:
            self._known.add(uid_of(pod))
            # What runs since before this kubelet began is nobody's any more.
            lost = lost and lookup(pod, "status.phase") == "Running"
            running.start(self._lose if lost else self._run, pod)

    def _is_mine(self, pod: Obj) -> bool:
        node = lookup(pod, "spec.nodeName", "")
        mine = bool(node) if self._nodes is None else node in self._nodes
        return mine and owner_job(pod) is not None

    async def _run(self, pod: Obj) -> None:
        self._logs.introduce(pod)
        try:
            await self._execute(pod, await self._sources(pod))
        finally:
            self._logs.close(uid_of(pod))
            with anyio.CancelScope(shield=True):
                await self._finish(pod)

    async def _lose(self, pod: Obj) -> None:
        text = "The container could not be located when the kubelet started"
        outcome = ContainerExit(137, text, "ContainerStatusUnknown")
        await amend(self._api, PODS, pod, partial(podstatus.ended, outcome=outcome))

    async def _finish(self, pod: Obj) -> None:
        """Let a pod that is being deleted go, now that nothing of it runs."""

        def settle(latest: Obj) -> None:
            if is_deleting(latest) and not has_ended(latest):
                podstatus.ended(latest, ContainerExit(137, reason="Error", message=""))

        latest = await amend(self._api, PODS, pod, settle)
        if latest is not None and is_deleting(latest):
            await self._api.delete(PODS, latest, gracePeriodSeconds=0)

    async def _sources(self, pod: Obj) -> VolumeSources:
        """Wait for the Secrets without which the container cannot start; returns what there is."""
        found, missing = await self._read(pod)
        if not missing:
            return found
        told = ""
        async with self._api.watch(SECRETS, namespace_of(pod)) as events:
            async for _ in events:
                found, missing = await self._read(pod)
                if not missing:
                    break
                if missing != told:
                    told = missing
                    await self._report_missing(pod, missing)
        return found

    async def _report_missing(self, pod: Obj, secret: str) -> None:
        text = f'secret "{secret}" not found'
        wait = partial(podstatus.waiting, reason="CreateContainerConfigError", message=text)
        await amend(self._api, PODS, pod, wait)

    async def _read(self, pod: Obj) -> tuple[VolumeSources, str]:
        """What the pod refers to, and the first Secret that it needs and that is not there."""
        found: VolumeSources = {}
        missing = ""
        for resource, reference in _references(pod):
            name = reference.get("name") or reference["secretName"]
            obj = await self._api.get(resource, name, namespace_of(pod))
            if obj is not None:
                found[resource.plural, name] = _decoded(resource, obj)
            elif resource is SECRETS and not reference.get("optional"):
                missing = missing or name
        return found, missing

    async def _execute(self, pod: Obj, sources: VolumeSources) -> None:
        current = await amend(self._api, PODS, pod, podstatus.running)
        if current is None:
            return
        log = self._logs.of(uid_of(pod), current["spec"]["containers"][0]["name"])
        try:
            outcome = await self.runner(
                RunningPod(current, log, lambda plural, name: sources.get((plural, name)))
            )
        except Exception as error:
            _log.exception("The runner failed on pod %s", name_of(pod))
            outcome = ContainerExit(128, str(error), "StartError")
        log.close()
        await amend(self._api, PODS, pod, partial(podstatus.ended, outcome=outcome))


def _decoded(resource: Resource, obj: Obj) -> Mapping[str, bytes]:
    data = obj.get("data") or {}
    if resource is SECRETS:
        return {key: base64.b64decode(value) for key, value in data.items()}
    return {key: str(value).encode() for key, value in data.items()}


_SOURCES = (
    (SECRETS, ("secret", "secretRef", "valueFrom.secretKeyRef")),
    (CONFIG_MAPS, ("configMap", "configMapRef", "valueFrom.configMapKeyRef")),
)


def _references(pod: Obj) -> Iterator[tuple[Resource, Obj]]:
    """The Secrets and ConfigMaps that the first container and the volumes refer to."""
    container = pod["spec"]["containers"][0]
    places = [*(container.get("env") or ()), *(container.get("envFrom") or ())]
    for volume in pod["spec"].get("volumes") or ():
        places += [volume, *lookup(volume, "projected.sources", ())]
    for place in places:
        for resource, paths in _SOURCES:
            yield from ((resource, found) for path in paths if (found := lookup(place, path)))
