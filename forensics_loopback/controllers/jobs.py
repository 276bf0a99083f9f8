"""The Job controller: a pod for each Job, and the Job's status in the order that was recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import anyio.abc

from forensics_loopback.kinds.objects import (
    Obj,
    clone,
    condition,
    is_deleting,
    lookup,
    metadata,
    name_of,
    namespace_of,
    now,
    uid_of,
)
from forensics_loopback.kinds.resources import Target
from forensics_loopback.kubelet.kubelet import TRACKING, untrack
from forensics_loopback.storage.deletion import delete
from forensics_loopback.storage.operations import Operations
from forensics_loopback.storage.store import Change

_KEY = "jobs.batch"
_REACHED = ("CompletionsReached", "Reached expected number of succeeded pods")
_LIMIT = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
_DEADLINE = ("DeadlineExceeded", "Job was active longer than specified deadline")


class JobController:
    """Runs each Job in a task of its own. One pod at a time; completions beyond one are ignored."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._store = operations.store
        self._scopes: dict[str, anyio.CancelScope] = {}
        self._tasks: anyio.abc.TaskGroup | None = None
        self._store.listeners.append(self._note)

    def start(self, tasks: anyio.abc.TaskGroup) -> None:
        """Start Jobs in `tasks` from now on."""
        self._tasks = tasks

    def _note(self, change: Change) -> None:
        if change.key != _KEY or self._tasks is None:
            return
        uid = uid_of(change.object)
        if change.type == "ADDED":
            self._scopes[uid] = anyio.CancelScope()
            self._tasks.start_soon(self._run, change.object)
        elif uid in self._scopes and (change.type == "DELETED" or is_deleting(change.object)):
            self._scopes[uid].cancel()

    async def _run(self, job: Obj) -> None:
        with self._scopes[uid_of(job)]:
            await self._until(job, lambda current: not current["spec"].get("suspend"))
            await self._to_its_end(job)
            await self._expire(job)
        del self._scopes[uid_of(job)]

    async def _until(self, obj: Obj, met: Callable[[Obj], Any]) -> Obj | None:
        """Wait until an object meets a condition; None once it is gone."""
        while True:
            touched = self._store.touched(uid_of(obj))
            found = self._store.by_uid(uid_of(obj))
            if found is None:
                return None
            if met(found[1]):
                return found[1]
            await touched.wait()

    async def _to_its_end(self, job: Obj) -> None:
        deadline = job["spec"].get("activeDeadlineSeconds")
        with anyio.move_on_after(deadline) as scope:
            await self._try_pods(job)
        if scope.cancelled_caught:
            await self._exceed_deadline(job)

    async def _try_pods(self, job: Obj) -> None:
        failed = 0
        while True:
            pod = self._create_pod(job)
            self._status(job, startTime=self._start_time(job), active=1, ready=0)
            await self._until(pod, lambda p: lookup(p, "status.phase") != "Pending")
            if lookup(self._latest(pod), "status.phase") == "Running":
                self._status(job, ready=1)
            ended = await self._until(pod, _has_ended)
            self._status(job, ready=0)
            if ended is not None and lookup(ended, "status.phase") == "Succeeded":
                return self._complete(job, pod)
            action, verdict = _judge(job, ended)
            if action == "Ignore":
                self._release(pod)
                continue
            failed += 1
            if action == "FailJob" or failed > job["spec"]["backoffLimit"]:
                return self._fail(job, pod, failed, verdict)
            self._count_failure(job, pod, failed)

    def _create_pod(self, job: Obj) -> Obj:
        template = clone(job["spec"]["template"])
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name_of(job), "uid": uid_of(job)}
        meta = {
            **template.get("metadata", {}),
            "generateName": name_of(job) + "-",
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
            "finalizers": [TRACKING],
        }
        body = {"metadata": meta, "spec": template["spec"]}
        resource = self._operations.registry.named("pods")
        return self._operations.create(resource, namespace_of(job), body).object

    def _latest(self, obj: Obj) -> Obj:
        found = self._store.by_uid(uid_of(obj))
        return obj if found is None else found[1]

    def _start_time(self, job: Obj) -> str:
        return str(lookup(self._latest(job), "status.startTime") or now())

    def _status(self, job: Obj, **fields: Any) -> None:
        """Set fields of the status; None takes one out."""

        def change(current: Obj) -> None:
            before = {"terminating": 0, "uncountedTerminatedPods": {}, **current["status"]}
            after = {**before, **fields}
            current["status"] = {key: value for key, value in after.items() if value is not None}

        self._operations.amend(_KEY, job, change)

    def _conditions(self, job: Obj, kind: str, why: tuple[str, str]) -> list[Obj]:
        at = now()
        item = {"type": kind, "status": "True", "lastProbeTime": at, "lastTransitionTime": at}
        known = lookup(self._latest(job), "status.conditions") or []
        return [*known, {**item, "reason": why[0], "message": why[1]}]

    def _release(self, pod: Obj) -> None:
        self._operations.amend("pods", pod, untrack)

    def _complete(self, job: Obj, pod: Obj) -> None:
        met = self._conditions(job, "SuccessCriteriaMet", _REACHED)
        uncounted = {"succeeded": [uid_of(pod)]}
        self._status(job, conditions=met, active=None, uncountedTerminatedPods=uncounted)
        self._release(pod)
        self._status(
            job,
            conditions=self._conditions(job, "Complete", _REACHED),
            completionTime=now(),
            succeeded=1,
            uncountedTerminatedPods={},
        )

    def _fail(self, job: Obj, pod: Obj, failed: int, why: tuple[str, str]) -> None:
        target = self._conditions(job, "FailureTarget", why)
        uncounted = {"failed": [uid_of(pod)]}
        self._status(job, conditions=target, active=None, uncountedTerminatedPods=uncounted)
        self._release(pod)
        final = self._conditions(job, "Failed", why)
        self._status(job, conditions=final, failed=failed, uncountedTerminatedPods={})

    def _count_failure(self, job: Obj, pod: Obj, failed: int) -> None:
        uncounted = {"failed": [uid_of(pod)]}
        self._status(job, active=None, uncountedTerminatedPods=uncounted)
        self._release(pod)
        self._status(job, failed=failed, uncountedTerminatedPods={})

    async def _exceed_deadline(self, job: Obj) -> None:
        target = self._conditions(job, "FailureTarget", _DEADLINE)
        pods = self._pods(job)
        for pod in pods:
            self._delete_pod(pod)
        uncounted = {"failed": [uid_of(pod) for pod in pods]}
        self._status(
            job,
            conditions=target,
            active=None,
            ready=0,
            terminating=len(pods),
            uncountedTerminatedPods=uncounted,
        )
        for pod in pods:
            self._release(pod)
        before = lookup(self._latest(job), "status.failed", 0)
        self._status(job, failed=before + len(pods), uncountedTerminatedPods={})
        for pod in pods:
            await self._until(pod, lambda _: False)
        self._status(job, terminating=0)
        self._status(job, conditions=self._conditions(job, "Failed", _DEADLINE))

    def _pods(self, job: Obj) -> list[Obj]:
        """The Job's pods that have not ended."""
        return [
            pod
            for pod in self._store.objects("pods", namespace_of(job))
            if not _has_ended(pod)
            and any(r["uid"] == uid_of(job) for r in metadata(pod).get("ownerReferences") or ())
        ]

    def _delete_pod(self, pod: Obj) -> None:
        resource = self._operations.registry.named("pods")
        delete(self._operations, Target(resource, namespace_of(pod), name_of(pod)))

    async def _expire(self, job: Obj) -> None:
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        if ttl is None or self._store.by_uid(uid_of(job)) is None:
            return
        await anyio.sleep(ttl)
        resource = self._operations.registry.named(_KEY)
        target = Target(resource, namespace_of(job), name_of(job))
        delete(self._operations, target, {"propagationPolicy": "Background"})


def _has_ended(pod: Obj) -> bool:
    return lookup(pod, "status.phase") in {"Succeeded", "Failed"}


def _judge(job: Obj, pod: Obj | None) -> tuple[str, tuple[str, str]]:
    """What the pod failure policy says of a failed pod: an action, and the Job's reason."""
    rules = lookup(job, "spec.podFailurePolicy.rules") or ()
    for index, rule in enumerate(rules):
        text = _matched(rule, pod) if pod is not None else ""
        if text:
            message = f"{text} matching {rule['action']} rule at index {index}"
            return rule["action"], ("PodFailurePolicy", message)
    return "Count", _LIMIT


def _matched(rule: Obj, pod: Obj) -> str:
    place = f"{namespace_of(pod)}/{name_of(pod)}"
    for pattern in rule.get("onPodConditions") or ():
        found = condition(pod, pattern["type"])
        if found and found["status"] == pattern.get("status", "True"):
            return f"Pod {place} has condition {pattern['type']}"
    codes = rule.get("onExitCodes")
    if codes is None:
        return ""
    for status in lookup(pod, "status.containerStatuses") or ():
        code = lookup(status, "state.terminated.exitCode", 0)
        if code and (code in codes["values"]) == (codes["operator"] == "In"):
            return f"Container {status['name']} for pod {place} failed with exit code {code}"
    return ""
