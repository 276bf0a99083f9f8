"""Watching over collectors: the progress that they tell, and why one does not come.

What a collector prints is hostile input: a line that is not ours, or not bounded, is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from forensics_core._internal import strict_json
from forensics_core._internal.units import human_size
from forensics_core.api.podcheckpoint import Progress
from forensics_core.errors import ClusterError
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.logs import LINE_LIMIT, follow_log
from forensics_core.kube.objects import Object
from forensics_core.kube.resources import Resource
from forensics_core.operator.attempt.pods import COLLECTOR, JobOutcome, delay_of_job
from forensics_core.operator.attempt.reads import Reads

log = logging.getLogger(__name__)

PREFIX = b'{"event":"progress",'
"""How a line of progress begins; anything else that is printed is for people."""
ENDED = b'{"event":"ended","reason":"'
"""How the last line begins, which a collector prints when there is a manifest, or will be none."""
FOLLOWED = 64
"""Workers that are followed at once; the others' progress is told once one of these has ended."""


def parse_progress(line: bytes) -> Progress | None:
    """Return what a line says of progress, or None if it says nothing legible."""
    if not line.startswith(PREFIX):
        return None
    try:
        # As strictly as what is signed: what two programs read differently is not legible.
        said = Progress.model_validate(strict_json.loads(line, limit=LINE_LIMIT), extra="ignore")
    except ValueError:
        return None
    done = f"{said.artifacts_done}/{said.artifacts_total}"
    return said.model_copy(update={"summary": f"{done} {human_size(said.bytes_read)}"})


class Followers:
    """One task for each collector that runs; `wake` gets the checkpoint's key when there is news.

    Its second argument are the seconds until then: whatever else comes meanwhile is told with it.

    What was heard is kept by the collector's UID: another collector's words never count.
    """

    def __init__(
        self,
        cluster: ClusterConnection,
        wake: Callable[[str, float], None],
        tasks: TaskGroup,
        interval: float,
    ) -> None:
        self._cluster = cluster
        self._wake = wake
        self._tasks = tasks
        self._interval = interval
        self._places = anyio.Semaphore(FOLLOWED)
        self._scopes: dict[str, anyio.CancelScope] = {}
        self._latest: dict[str, Progress] = {}
        self._shown: dict[str, Progress] = {}
        """What observations see of it: it changes once an interval, however often they look. The
        answer to each write is news that is looked at, and must not be followed by another one."""
        self._due: dict[str, float] = {}
        self._ended: set[str] = set()
        """Collectors that said that they end, and whose word nobody has acted upon."""
        self._told: set[str] = set()

    def said_end(self, collector_pod: Object) -> bool:
        """Whether `collector_pod` has said that it ends; true once, however often it says so.

        The kubelet tells the end of a container up to a second later. What a collector prints is
        worth one look at its manifest, and not one for each line.
        """
        uid = collector_pod["metadata"]["uid"]
        if uid not in self._ended:
            return False
        self._ended.discard(uid)
        return True

    def latest(self, key: str, collector_pod: Object) -> Progress | None:
        """Return what `collector_pod` said at the last interval, while it is followed."""
        uid = collector_pod["metadata"]["uid"]
        latest, shown = self._latest.get(uid), self._shown.get(uid)
        if latest is None or latest == shown:
            return shown
        now = anyio.current_time()
        if (wait := self._due.get(uid, now) - now) > 0:
            self._wake(key, wait)
            return shown
        self._due[uid] = now + self._interval
        self._shown[uid] = latest
        return latest

    def follow(self, key: str, collector_pod: Object) -> None:
        """See to it that the output of `collector_pod` is followed, once it runs."""
        uid = collector_pod["metadata"]["uid"]
        if uid in self._scopes or not _running(collector_pod):
            return
        self._scopes[uid] = anyio.CancelScope()
        self._tasks.start_soon(self._run, key, collector_pod, self._scopes[uid])

    def forget(self, collector_pod: Object | None) -> None:
        """Stop following, and drop what was heard."""
        scope = self._scopes.get(collector_pod["metadata"]["uid"]) if collector_pod else None
        if scope:
            scope.cancel()

    async def _run(self, key: str, collector_pod: Object, scope: anyio.CancelScope) -> None:
        metadata = collector_pod["metadata"]
        try:
            with scope, suppress(ClusterError):
                async with self._places:
                    await self._read(key, metadata)
        finally:
            self._scopes.pop(metadata["uid"], None)
            for heard in (self._latest, self._shown, self._due):
                heard.pop(metadata["uid"], None)
            for told in (self._ended, self._told):
                told.discard(metadata["uid"])

    async def _read(self, key: str, collector_pod: Object) -> None:
        uid = collector_pod["uid"]
        async with follow_log(
            self._cluster, collector_pod["namespace"], collector_pod["name"], COLLECTOR
        ) as lines:
            async for line in lines:
                if line.text.startswith(ENDED) and uid not in self._told:
                    self._ended.add(uid)
                    self._told.add(uid)
                    self._wake(key, 0)
                progress = parse_progress(line.text)
                if progress and progress != self._latest.get(uid):
                    self._latest[uid] = progress
                    self._wake(key, self._interval)
                # One collector that prints without end must not keep the others waiting.
                await anyio.lowlevel.checkpoint()


def _running(collector_pod: Object) -> bool:
    return any(
        status.get("name") == COLLECTOR and status.get("state", {}).get("running")
        for status in collector_pod.get("status", {}).get("containerStatuses") or []
    )


async def why_no_pod(reads: Reads, job: Object) -> JobOutcome:
    """Return why a Job has made no pod, from the events about it."""
    metadata = job.get("metadata", {})
    events = await reads.list_now(
        Resource("", "v1", "events", "Event"),
        metadata.get("namespace", ""),
        field_selector=f"involvedObject.uid={metadata.get('uid', '')}",
    )
    return delay_of_job(events.items)
