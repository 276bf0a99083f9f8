"""Scheduler and kubelet in one: places the pods of Jobs on nodes and runs them to their end.

Only pods that a Job controls are run. Whatever else a test creates stays as the test made it.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator, Mapping
from functools import partial

import anyio
import anyio.abc

from forensics_loopback.controllers.scheduler import place
from forensics_loopback.kinds.objects import (
    Obj,
    is_deleting,
    lookup,
    metadata,
    name_of,
    namespace_of,
    uid_of,
)
from forensics_loopback.kubelet import podstatus
from forensics_loopback.kubelet.logs import Logs
from forensics_loopback.kubelet.runner import JobRunner, Outcome, RunningPod
from forensics_loopback.storage.operations import Operations
from forensics_loopback.storage.store import Change

_log = logging.getLogger(__name__)
TRACKING = "batch.kubernetes.io/job-tracking"
"""The finalizer that keeps a Job's pod until the Job has counted it."""


def owner_job(pod: Obj) -> str | None:
    """The UID of the Job that controls a pod, or None."""
    for ref in metadata(pod).get("ownerReferences") or ():
        if ref["kind"] == "Job" and ref.get("controller"):
            return str(ref["uid"])
    return None


def untrack(pod: Obj) -> None:
    """Take the Job's finalizer off, in place."""
    left = [f for f in metadata(pod).get("finalizers") or () if f != TRACKING]
    metadata(pod).pop("finalizers", None)
    if left:
        metadata(pod)["finalizers"] = left


class Kubelet:
    """Runs pods, each in a task of its own that ends with the pod."""

    def __init__(self, operations: Operations, logs: Logs, runner: JobRunner) -> None:
        self.runner = runner
        self._operations = operations
        self._store = operations.store
        self._logs = logs
        self._running: dict[str, anyio.CancelScope] = {}
        self._tasks: anyio.abc.TaskGroup | None = None
        operations.graceful = lambda pod: uid_of(pod) in self._running
        self._store.listeners.append(self._note)

    def start(self, tasks: anyio.abc.TaskGroup) -> None:
        """Start pods in `tasks` from now on."""
        self._tasks = tasks

    def _note(self, change: Change) -> None:
        if change.key != "pods":
            return
        uid = uid_of(change.object)
        if change.type == "ADDED" and owner_job(change.object) and self._tasks:
            self._running[uid] = anyio.CancelScope()
            self._tasks.start_soon(self._run, change.object)
        elif change.type == "DELETED":
            self._logs.forget(uid)
        if change.type == "DELETED" or is_deleting(change.object) or _is_over(change.object):
            self.stop(uid)

    def stop(self, uid: str) -> None:
        """End a pod's process; nothing happens where none runs."""
        if uid in self._running:
            self._running[uid].cancel()

    async def _run(self, pod: Obj) -> None:
        uid = uid_of(pod)
        scope = self._running[uid]
        try:
            with scope:
                await self._place(pod)
                await self._wait_for_sources(pod)
                await self._execute(pod)
        finally:
            self._running.pop(uid, None)
            self._logs.close(uid)
            self._finish(pod)

    def _finish(self, pod: Obj) -> None:
        def settle(latest: Obj) -> None:
            if not is_deleting(latest):
                return
            if not _is_over(latest):
                podstatus.ended(latest, Outcome(137, reason="Error", message=""))
            if not self._is_counted(latest):
                untrack(latest)

        self._operations.amend("pods", pod, settle)

    def _is_counted(self, pod: Obj) -> bool:
        """Whether the pod's Job is still there to take note of it."""
        found = self._store.by_uid(owner_job(pod) or "")
        return found is not None and not is_deleting(found[1])

    async def _place(self, pod: Obj) -> None:
        told = False
        while True:
            nodes, pulse = self._store.objects("nodes"), self._store.pulse("nodes")
            node = place(pod, nodes)
            if node is not None:
                bind = partial(podstatus.scheduled, node=name_of(node))
                self._operations.amend("pods", pod, bind)
                return
            if not told:
                refuse = partial(podstatus.unschedulable, nodes=len(nodes))
                self._operations.amend("pods", pod, refuse)
                told = True
            await pulse.wait()

    async def _wait_for_sources(self, pod: Obj) -> None:
        told = ""
        while True:
            pulse = self._store.pulse("secrets")
            missing = [name for name in _secrets(pod) if self._data(pod, "secrets", name) is None]
            if not missing:
                return
            if missing[0] != told:
                told = missing[0]
                text = f'secret "{told}" not found'
                wait = partial(podstatus.waiting, reason="CreateContainerConfigError", message=text)
                self._operations.amend("pods", pod, wait)
            await pulse.wait()

    async def _execute(self, pod: Obj) -> None:
        current = self._operations.amend("pods", pod, podstatus.running)
        if current is None:
            return
        container = current["spec"]["containers"][0]["name"]
        log = self._logs.of(uid_of(pod), container)
        read = partial(self._data, current)
        try:
            outcome = await self.runner(RunningPod(current, log, read))
        except Exception as error:
            _log.exception("The runner failed on pod %s", name_of(pod))
            outcome = Outcome(128, str(error), "StartError")
        log.close()
        self._operations.amend("pods", pod, partial(podstatus.ended, outcome=outcome))

    def _data(self, pod: Obj, plural: str, name: str) -> Mapping[str, bytes] | None:
        found = self._store.get(plural, namespace_of(pod), name)
        if found is None:
            return None
        data = found.get("data") or {}
        if plural == "secrets":
            return {key: base64.b64decode(value) for key, value in data.items()}
        return {key: str(value).encode() for key, value in data.items()}


def _is_over(pod: Obj) -> bool:
    return lookup(pod, "status.phase") in {"Succeeded", "Failed"}


def _secrets(pod: Obj) -> Iterator[str]:
    """The Secrets without which the first container cannot start."""
    container = pod["spec"]["containers"][0]
    references = [lookup(v, "valueFrom.secretKeyRef") for v in container.get("env") or ()]
    references += [v.get("secretRef") for v in container.get("envFrom") or ()]
    for volume in pod["spec"].get("volumes") or ():
        references.append(volume.get("secret"))
        references += [s.get("secret") for s in lookup(volume, "projected.sources", ())]
    for reference in references:
        if reference and not reference.get("optional"):
            yield reference.get("name") or reference["secretName"]
