"""Keeping an eye on a worker: what it says of its progress, or why it does not start."""

from __future__ import annotations

from forensics_core.errors import NotFound
from forensics_core.kube.objects import Object
from forensics_core.kube.resources import Resource
from forensics_core.operator import statuses
from forensics_core.operator.cache import name_of
from forensics_core.operator.desk import Desk
from forensics_core.operator.outcomes import Outcome, delay, delay_of_job, started
from forensics_core.operator.reads import Reads
from forensics_core.operator.reconcile import PATIENCE, Follow, Observed, made_at

ORDINARY = frozenset({"ContainerCreating", "PodInitializing", "NotStarted"})
"""Reasons that every worker has for a while: they are only told once that is over."""


class Supervision:
    """Supervises workers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def follow(self, step: Follow, observed: Observed) -> None:
        """Tell the progress of a worker that has started, and the delay of one that has not."""
        checkpoint, worker = observed.checkpoint, observed.worker
        if step.until is not None:
            self._desk.wake(checkpoint, (step.until - observed.now).total_seconds())
        if worker is None or not started(worker):
            await self._tell_delay(observed)
            return
        self._desk.followers.follow(name_of(checkpoint), worker)
        progress = self._desk.followers.latest(worker)
        if progress is not None and progress != checkpoint.status.progress:
            status = statuses.progressed(checkpoint, progress, observed.now)
            await self._desk.write(checkpoint, status)

    async def _tell_delay(self, observed: Observed) -> None:
        checkpoint = observed.checkpoint
        if observed.worker is None:
            if observed.job is None or not _late(observed) or statuses.is_delayed(checkpoint):
                return
            if not await self._job_is_there(observed.job):
                return
        why = await self.why_not_started(observed)
        if why.reason in ORDINARY and not _late(observed):
            return
        status = statuses.delayed(checkpoint, why.reason, why.message, observed.now)
        if status != checkpoint.status:
            written = await self._desk.write(checkpoint, status)
            self._desk.say(written, why.reason, f"Not started yet: {why.message}", warning=True)

    async def _job_is_there(self, job: Object) -> bool:
        """Look whether a Job that makes no pod is there at all; the cache may not have heard."""
        metadata = job["metadata"]
        try:
            await self._desk.jobs.get(metadata["name"], metadata["namespace"])
        except NotFound:
            key = self._desk.cache.drop_job(job)
            if key is not None:
                self._desk.queue.add(key)
            return False
        return True

    async def why_not_started(self, observed: Observed) -> Outcome:
        """Return why a worker has not started, as far as the cluster tells."""
        if observed.worker is not None:
            return delay(observed.worker, observed.checkpoint.status.node)
        return await why_no_pod(self._desk.reads, observed.job or {})


async def why_no_pod(reads: Reads, job: Object) -> Outcome:
    """Return why a Job has made no pod, from the events about it."""
    metadata = job.get("metadata", {})
    events = await reads.list_now(
        Resource("", "v1", "events", "Event"),
        metadata.get("namespace", ""),
        field_selector=f"involvedObject.uid={metadata.get('uid', '')}",
    )
    return delay_of_job(events.items)


def _late(observed: Observed) -> bool:
    made = made_at(observed.job)
    return made is not None and observed.now >= made + PATIENCE
