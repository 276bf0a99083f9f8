"""Asking for the capture of many pods of one incident, one PodCheckpoint each::

    requests = await request_captures(checkpoints, selection.pods, spec, incident="INC-7")
    refused = [one for one in requests if one.state is RequestState.REFUSED]

What one pod meets keeps nobody from asking for the others. Asking twice is safe: a pod that is
captured, or is being captured, is left alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import anyio

from forensics_core._internal.backoff import Backoff
from forensics_core._internal.tasks import task_group
from forensics_core.api.incident import (
    IncidentSummary,
    PodRequest,
    RequestState,
    is_for,
    request_name,
)
from forensics_core.api.names import EXPECTED_POD_UID_ANNOTATION, INCIDENT_LABEL
from forensics_core.api.podcheckpoint import PodCheckpoint, PodCheckpointSpec
from forensics_core.api.selection import SelectedPod
from forensics_core.errors import AlreadyExists, ApiUnavailable, ClusterError, NotFound
from forensics_core.kube.listwatch import EventType
from forensics_core.kube.podcheckpoints import CheckpointEvent, PodCheckpoints

AT_ONCE = 8
"""Requests under way at a time: the API server has others to serve."""
ATTEMPTS = 3
"""How often a request is made that nobody answers."""


async def of_incident(checkpoints: PodCheckpoints, incident: str) -> list[PodCheckpoint]:
    """Return all checkpoints with the incident's label."""
    return await checkpoints.list(label_selector=f"{INCIDENT_LABEL}={incident}")


@asynccontextmanager
async def follow_incident(
    checkpoints: PodCheckpoints, incident: str
) -> AsyncIterator[AsyncIterator[IncidentSummary]]:
    """Yield how an incident stands, and again whenever something of it changes, without end.

    The first one is of all there is; it has no pods if there are none.
    """
    selector = f"{INCIDENT_LABEL}={incident}"
    async with (
        checkpoints.watch(label_selector=selector) as events,
        aclosing(_summaries(events, incident)) as summaries,
    ):
        yield summaries


async def _summaries(
    events: AsyncIterator[CheckpointEvent], incident: str
) -> AsyncGenerator[IncidentSummary, None]:
    known: dict[str, PodCheckpoint] = {}
    synced = False
    async for event in events:
        if event.checkpoint is None:
            synced = True
        elif event.type is EventType.DELETED:
            known.pop(event.checkpoint.metadata.name, None)
        else:
            known[event.checkpoint.metadata.name] = event.checkpoint
        if synced:
            yield IncidentSummary.of(incident, known.values())


async def request_captures(
    checkpoints: PodCheckpoints,
    pods: Sequence[SelectedPod],
    spec: PodCheckpointSpec,
    *,
    again: bool = False,
    annotations: Mapping[str, str] | None = None,
    dry_run: bool = False,
    pause: float = 0.5,
) -> list[PodRequest]:
    """Ask for the capture of each pod, the first ones first; return what became of each.

    `spec` says everything but pod and namespace; its incident has to be set. With `again` pods that
    are captured already are captured once more. With `dry_run` the cluster checks each request and
    keeps none. `pause`: seconds before a request is made again that nobody answered.

    Raises a `ClusterError` if the incident's checkpoints cannot be listed: nothing was asked then.
    """
    known = await of_incident(checkpoints, spec.incident)
    asking = _BatchRequest(checkpoints, spec, known, again, dict(annotations or {}), dry_run, pause)
    waiting = iter(enumerate(pods))
    async with task_group() as tasks:
        for _ in range(min(AT_ONCE, len(pods))):
            tasks.start_soon(asking.take, waiting)
    return [asking.done[number] for number in range(len(pods))]


@dataclass(slots=True)
class _BatchRequest:
    checkpoints: PodCheckpoints
    spec: PodCheckpointSpec
    known: Sequence[PodCheckpoint]
    again: bool
    annotations: Mapping[str, str]
    dry_run: bool
    pause: float
    done: dict[int, PodRequest] = field(default_factory=dict)
    away: ApiUnavailable | None = None
    """Why nobody else is asked for: each would have to wait as long."""

    async def take(self, waiting: Iterator[tuple[int, SelectedPod]]) -> None:
        for number, pod in waiting:
            self.done[number] = await self._ask(pod)

    async def _ask(self, pod: SelectedPod) -> PodRequest:
        earlier = [one for one in self.known if is_for(one, pod)]
        if earlier and not self.again:
            return PodRequest(pod, RequestState.EXISTING, earlier[-1])
        if self.away is not None:
            return PodRequest(pod, RequestState.REFUSED, error=self.away)
        try:
            return await self._create(pod)
        except ApiUnavailable as error:
            self.away = error
            return PodRequest(pod, RequestState.REFUSED, error=error)
        except ClusterError as error:
            return PodRequest(pod, RequestState.REFUSED, error=error)

    async def _create(self, pod: SelectedPod) -> PodRequest:
        name = self._free_name(pod)
        try:
            return PodRequest(pod, RequestState.CREATED, await self._with_retry(pod, name))
        except AlreadyExists:
            there = await self._existing(name)
        # Made by somebody else at the same moment, or by ourselves and the answer was lost.
        if there is not None and is_for(there, pod) and there.spec.incident == self.spec.incident:
            return PodRequest(pod, RequestState.EXISTING, there)
        return PodRequest(pod, RequestState.CREATED, await self._with_retry(pod, None))

    def _free_name(self, pod: SelectedPod) -> str:
        taken = {one.metadata.name for one in self.known}
        number = 0
        while (name := request_name(self.spec.incident, pod, number)) in taken:
            number += 1
        return name

    async def _existing(self, name: str) -> PodCheckpoint | None:
        try:
            return await self.checkpoints.get(name)
        except NotFound:
            return None

    async def _with_retry(self, pod: SelectedPod, name: str | None) -> PodCheckpoint:
        backoff = Backoff(self.pause)
        spec = self.spec.model_copy(update={"pod": pod.name, "namespace": pod.namespace})
        # One that takes the pod's name meanwhile is another pod, which nobody chose.
        expected = {EXPECTED_POD_UID_ANNOTATION: pod.uid}
        while True:
            try:
                return await self.checkpoints.create(
                    spec,
                    name=name,
                    annotations={**self.annotations, **expected},
                    dry_run=self.dry_run,
                )
            except ApiUnavailable:
                # Without a name of ours a second request could be a second capture.
                if name is None or backoff.failures + 1 >= ATTEMPTS:
                    raise
            await anyio.sleep(backoff.next())
