"""The cluster as scripts see it, and one request to capture a pod of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Unpack

from forensics_core._internal.arguments import checked_arguments
from forensics_core._internal.extras import needing
from forensics_core.api.conditions import ConditionType, is_true
from forensics_core.api.names import INCIDENT_LABEL
from forensics_core.api.resource import ObjectMeta
from forensics_core.checkpoints.incident import Incident
from forensics_core.checkpoints.options import CheckpointOptions, spec_of
from forensics_core.errors import NotFound
from forensics_core.models import Evidence, PodCheckpoint, PodCheckpointStatus, Progress

with needing("operator", "Talking to a cluster"):
    from forensics_core.kube import connection
    from forensics_core.kube.listwatch import EventType
    from forensics_core.kube.podcheckpoints import PodCheckpoints

NAMESPACE = "forensics-system"
"""Where PodCheckpoints are unless the operator is set otherwise."""


@asynccontextmanager
async def connect(
    kubeconfig: str | Path | None = None,
    *,
    context: str | None = None,
    checkpoint_namespace: str = NAMESPACE,
) -> AsyncIterator[Cluster]:
    """Connect by the kubeconfig, or from inside a pod.

    `checkpoint_namespace` is where PodCheckpoints are. Raises `ClusterNotConfigured`; no request is
    made yet.
    """
    async with connection.connect(kubeconfig, context=context) as connected:
        yield Cluster(connected, checkpoint_namespace)


class Cluster(connection.ClusterConnection):
    """A cluster's API, as one identity; made by `connect`.

    All methods raise a `ClusterError` where the API says no: `Forbidden`, `Unauthorized`,
    `NotFound`, or `ApiUnavailable` if nobody answers.
    """

    def __init__(self, connected: connection.ClusterConnection, checkpoint_namespace: str) -> None:
        super().__init__(connected._sessions, connected.namespace)
        self._client = PodCheckpoints(self, checkpoint_namespace)

    async def checkpoint(
        self,
        pod: str,
        *,
        namespace: str | None = None,
        incident: str = "",
        name: str | None = None,
        **options: Unpack[CheckpointOptions],
    ) -> Checkpoint:
        """Ask for the capture of a pod; return as soon as the cluster has accepted the request.

        `namespace` is the pod's: the kubeconfig's unless given. `name` is the request's own, made
        of the pod's unless given. How it is captured, and where `to`: `CheckpointOptions`.

        Raises `UsageError` that names the argument which does not fit, `AlreadyExists`, and
        `Forbidden` or `Invalid` where admission says no.
        """
        where = namespace or self.namespace
        spec = spec_of(options, pod=pod, namespace=where, incident=incident or None)
        with checked_arguments({}):
            ObjectMeta.model_validate({"name": name or ""})
        return Checkpoint(self._client, await self._client.create(spec, name=name))

    def incident(self, incident: str) -> Incident:
        """Return an incident by its id: many pods as one thing. No request is made yet.

        Raises `UsageError` for an id that fits no label.
        """
        return Incident(self, self._client, incident)

    async def get(self, name: str) -> Checkpoint:
        """Return a checkpoint by the name of its PodCheckpoint. Raises `NotFound`."""
        return Checkpoint(self._client, await self._client.get(name))

    async def checkpoints(self, *, incident: str = "") -> list[Checkpoint]:
        """Return all checkpoints, or an incident's, by name."""
        found = await self._client.list(label_selector=_selector(incident))
        return [Checkpoint(self._client, each) for each in found]

    async def follow(self, *, incident: str) -> AsyncGenerator[Checkpoint, None]:
        """Yield an incident's checkpoints as they are, then each whenever something of it changes.

        It ends when the last of them has ended; one that is made until then is followed, too.
        """
        going: set[str] = set()
        synced = False
        async with self._client.watch(label_selector=_selector(incident)) as events:
            async for event in events:
                synced = synced or event.type is EventType.SYNCED
                if event.checkpoint is not None:
                    name = event.checkpoint.metadata.name
                    gone = event.type is EventType.DELETED
                    going.discard(name)
                    if not (gone or event.checkpoint.finished):
                        going.add(name)
                    yield Checkpoint(self._client, event.checkpoint)
                if synced and not going:
                    return


class Checkpoint:
    """One request to capture a pod; made by a `Cluster`."""

    def __init__(self, client: PodCheckpoints, resource: PodCheckpoint) -> None:
        self._client = client
        self.resource = resource
        """The PodCheckpoint as it was last seen."""

    @property
    def name(self) -> str:
        """The name of the PodCheckpoint."""
        return self.resource.metadata.name

    @property
    def pod(self) -> str:
        """The pod that it captures, as `namespace/name`."""
        return f"{self.resource.target_namespace}/{self.resource.spec.pod}"

    @property
    def status(self) -> PodCheckpointStatus:
        """How it was going when it was last seen; `refresh` looks again."""
        return self.resource.status

    @property
    def finished(self) -> bool:
        """Whether it had come to its end, good or bad, when it was last seen."""
        return self.resource.finished

    async def refresh(self) -> PodCheckpointStatus:
        """Look again, and return the status. Raises `NotFound` if it was deleted."""
        self._see(await self._client.get(self.name))
        return self.status

    async def progress(self) -> AsyncGenerator[Progress, None]:
        """Yield how far the capture is, whenever that changes, until it has ended.

        A capture that fails just ends it: `captured` raises then. Raises `NotFound` if the
        checkpoint was deleted meanwhile.
        """
        last, seen = None, False
        async with self._client.watch(self.name) as events:
            async for event in events:
                if event.checkpoint is not None:
                    self._see(event.checkpoint)
                    seen = True
                    now = self.status.progress
                    if now is not None and now != last:
                        last = now
                        yield now
                    if self.finished:
                        return
                if not seen or event.type is EventType.DELETED:
                    raise self._not_found()

    async def captured(self, *, sealed: bool = True) -> Evidence:
        """Wait for the evidence: stored, compared with the manifest, and signed by the operator.

        With `sealed=False` it returns already when the pod may be killed, before the manifest is
        signed. For a limit use `anyio.fail_after`.

        Raises `CheckpointFailed`, with `reason` and `hint`, if the capture was given up, and
        `NotFound` if the checkpoint was deleted before it ended.
        """
        met = partial(self._is_captured, sealed=sealed)
        return _evidence(await self._client.wait(self.name, until=met, failed_ok=True))

    async def cancel(self) -> None:
        """Ask the capture to stop, and keep what there is by then. It cannot be taken back."""
        self._see(await self._client.cancel(self.name))

    async def release(self) -> None:
        """Ask for the isolation of the pod to be lifted. It cannot be taken back."""
        self._see(await self._client.release(self.name))

    def _is_captured(self, resource: PodCheckpoint, *, sealed: bool) -> bool:
        self._see(resource)
        resource.raise_for_failure()
        return resource.finished or (resource.captured and not sealed)

    def _see(self, resource: PodCheckpoint) -> None:
        """Remember the newest state. Raises `NotFound` for another checkpoint of the same name."""
        if resource.metadata.uid != self.resource.metadata.uid:
            raise self._not_found()
        self.resource = resource

    def _not_found(self) -> NotFound:
        return NotFound(
            f"The PodCheckpoint '{self.name}' was deleted",
            hint="Evidence that it had is where it was stored",
        )


def _selector(incident: str) -> str:
    return f"{INCIDENT_LABEL}={incident}" if incident else ""


def _evidence(resource: PodCheckpoint) -> Evidence:
    status = resource.status
    return Evidence(
        location=status.location,
        manifest_sha256=status.manifest_sha256,
        partial=is_true(status.conditions, ConditionType.PARTIAL),
        sealed=status.sealed,
        artifacts=status.artifacts,
        size=status.bytes,
    )
