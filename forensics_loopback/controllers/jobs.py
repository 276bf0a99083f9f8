"""The Job controller: a pod for each Job, and the Job's status in the order that was recorded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio

from forensics_core._internal.backoff import Backoff
from forensics_core.errors import ApiUnavailable
from forensics_core.kube.listwatch import EventType
from forensics_core.kube.resources import JOBS, PODS
from forensics_loopback.client.api import Api, ObjectTasks, amend, until
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
from forensics_loopback.kinds.pods import TRACKING, has_ended, owner_job, untrack

_REACHED = ("CompletionsReached", "Reached expected number of succeeded pods")
_LIMIT = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
_DEADLINE = ("DeadlineExceeded", "Job was active longer than specified deadline")


class JobController:
    """A client of the API that runs each Job in a task of its own.

    One pod at a time; completions beyond one are ignored.
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    async def run(self) -> None:
        """Run Jobs until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._release_abandoned)
            running = ObjectTasks(tasks)
            async with self._api.watch(JOBS) as events:
                async for event in events:
                    if event.type is EventType.SYNCED:
                        continue
                    job = event.object
                    if event.type is EventType.DELETED or is_deleting(job):
                        running.cancel(job)
                        await self._abandon(job)
                    elif event.type is EventType.ADDED:
                        running.start(self._run, job)

    async def _release_abandoned(self) -> None:
        """Let go of pods that are being deleted and that no Job is left to count."""
        async with self._api.watch(PODS) as events:
            async for event in events:
                if event.type not in {EventType.SYNCED, EventType.DELETED}:
                    await self._release_if_abandoned(event.object)

    async def _abandon(self, job: Obj) -> None:
        for pod in await self._api.list(PODS, namespace_of(job)):
            if _belongs(pod, job):
                await self._release_if_abandoned(pod)

    async def _release_if_abandoned(self, pod: Obj) -> None:
        owner = owner_job(pod)
        if owner is None or not is_deleting(pod) or TRACKING not in _finalizers(pod):
            return
        job = await self._api.get(JOBS, owner["name"], namespace_of(pod))
        if job is None or uid_of(job) != owner["uid"] or is_deleting(job):
            await self._release(pod)

    async def _run(self, job: Obj) -> None:
        if not _is_finished(job):
            await until(self._api, JOBS, job, lambda now: not now["spec"].get("suspend"))
            await self._to_its_end(job)
        await self._expire(job)

    async def _to_its_end(self, job: Obj) -> None:
        deadline = job["spec"].get("activeDeadlineSeconds")
        with anyio.move_on_after(deadline) as scope:
            await self._try_pods(job)
        if scope.cancelled_caught:
            await self._exceed_deadline(job)

    async def _try_pods(self, job: Obj) -> None:
        failed = lookup(job, "status.failed", 0)
        while True:
            ended, pod = await self._try_pod(job)
            if ended is not None and lookup(ended, "status.phase") == "Succeeded":
                return await self._complete(job, pod)
            action, verdict = _judge(job, ended)
            # It does not count against the limit.
            if action == "Ignore":
                await self._release(pod)
                continue
            failed += 1
            if action == "FailJob" or failed > job["spec"]["backoffLimit"]:
                return await self._fail(job, pod, failed, verdict)
            await self._count_failure(job, pod, failed)

    async def _try_pod(self, job: Obj) -> tuple[Obj | None, Obj]:
        """Wait for a pod to end; returns its last state, None if it is gone, and the pod."""
        pod = await self._pod_of(job)
        await self._status(job, _started)
        begun = await until(self._api, PODS, pod, lambda p: lookup(p, "status.phase") != "Pending")
        if begun is not None and lookup(begun, "status.phase") == "Running":
            await self._status(job, ready=1)
        ended = await until(self._api, PODS, pod, has_ended)
        await self._status(job, ready=0)
        return ended, pod

    async def _pod_of(self, job: Obj) -> Obj:
        backoff = Backoff(0.2)
        while True:
            pod = await self._uncounted(job)
            if pod is not None:
                return pod
            try:
                return await self._create_pod(job)
            except ApiUnavailable as error:
                # Perhaps it was made, and only the answer got lost: look again.
                await anyio.sleep(backoff.next(error.retry_after))

    async def _uncounted(self, job: Obj) -> Obj | None:
        """The pod that a controller before this one made and did not count, or None."""
        pods = await self._api.list(PODS, namespace_of(job))
        return next((p for p in pods if _belongs(p, job) and TRACKING in _finalizers(p)), None)

    async def _create_pod(self, job: Obj) -> Obj:
        template = clone(job["spec"]["template"])
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name_of(job), "uid": uid_of(job)}
        meta = {
            **template.get("metadata", {}),
            "namespace": namespace_of(job),
            "generateName": name_of(job) + "-",
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
            "finalizers": [TRACKING],
        }
        return await self._api.create(PODS, {"metadata": meta, "spec": template["spec"]})

    async def _status(
        self, job: Obj, change: Callable[[Obj], None] | None = None, **fields: Any
    ) -> None:
        """Set fields of the status; None takes one out. `change` sees the status before."""

        def amended(current: Obj) -> None:
            before = {"terminating": 0, "uncountedTerminatedPods": {}, **current.get("status", {})}
            if change is not None:
                change(before)
            after = {**before, **fields}
            current["status"] = {key: value for key, value in after.items() if value is not None}

        await amend(self._api, JOBS, job, amended)

    async def _release(self, pod: Obj) -> None:
        await amend(self._api, PODS, pod, untrack, subresource="")

    async def _complete(self, job: Obj, pod: Obj) -> None:
        # Named, let go, counted, in three writes: whoever dies in between neither loses a pod nor
        # counts it twice.
        uncounted = {"succeeded": [uid_of(pod)]}
        met = partial(_conclude, kind="SuccessCriteriaMet", why=_REACHED)
        await self._status(job, met, active=None, uncountedTerminatedPods=uncounted)
        await self._release(pod)
        done = partial(_conclude, kind="Complete", why=_REACHED)
        await self._status(job, done, completionTime=now(), succeeded=1, uncountedTerminatedPods={})

    async def _fail(self, job: Obj, pod: Obj, failed: int, why: tuple[str, str]) -> None:
        uncounted = {"failed": [uid_of(pod)]}
        target = partial(_conclude, kind="FailureTarget", why=why)
        await self._status(job, target, active=None, uncountedTerminatedPods=uncounted)
        await self._release(pod)
        final = partial(_conclude, kind="Failed", why=why)
        await self._status(job, final, failed=failed, uncountedTerminatedPods={})

    async def _count_failure(self, job: Obj, pod: Obj, failed: int) -> None:
        uncounted = {"failed": [uid_of(pod)]}
        await self._status(job, active=None, uncountedTerminatedPods=uncounted)
        await self._release(pod)
        await self._status(job, failed=failed, uncountedTerminatedPods={})

    async def _exceed_deadline(self, job: Obj) -> None:
        there = await self._api.list(PODS, namespace_of(job))
        pods = [pod for pod in there if _belongs(pod, job) and not has_ended(pod)]
        for pod in pods:
            await self._api.delete(PODS, pod)
        await self._status(
            job,
            partial(_conclude, kind="FailureTarget", why=_DEADLINE),
            active=None,
            ready=0,
            terminating=len(pods),
            uncountedTerminatedPods={"failed": [uid_of(pod) for pod in pods]},
        )
        for pod in pods:
            await self._release(pod)

        def count(status: Obj) -> None:
            status["failed"] = status.get("failed", 0) + len(pods)

        await self._status(job, count, uncountedTerminatedPods={})
        for pod in pods:
            await until(self._api, PODS, pod, lambda _: False)
        await self._status(job, terminating=0)
        await self._status(job, partial(_conclude, kind="Failed", why=_DEADLINE))

    async def _expire(self, job: Obj) -> None:
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        if ttl is not None:
            await anyio.sleep(ttl)
            await self._api.delete(JOBS, job, propagationPolicy="Background")


def _finalizers(pod: Obj) -> list[str]:
    found: list[str] = metadata(pod).get("finalizers") or []
    return found


def _belongs(pod: Obj, job: Obj) -> bool:
    return any(ref["uid"] == uid_of(job) for ref in metadata(pod).get("ownerReferences") or ())


def _is_finished(job: Obj) -> bool:
    return condition(job, "Complete") is not None or condition(job, "Failed") is not None


def _started(status: Obj) -> None:
    """Set, in place, what a Job says while its pod is young."""
    status.setdefault("startTime", now())
    status.update(active=1, ready=0)


def _conclude(status: Obj, kind: str, why: tuple[str, str]) -> None:
    """Add a condition, in place."""
    at = now()
    item = {"type": kind, "status": "True", "lastProbeTime": at, "lastTransitionTime": at}
    known = status.get("conditions") or []
    status["conditions"] = [*known, {**item, "reason": why[0], "message": why[1]}]


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
