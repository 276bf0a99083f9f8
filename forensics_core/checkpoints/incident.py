"""An incident: many pods, one PodCheckpoint each, seen as one thing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Unpack

from forensics_core._internal.extras import needing
from forensics_core.checkpoints.options import CheckpointOptions, spec_of
from forensics_core.errors import UsageError
from forensics_core.models import IncidentSummary, PodRequest, Selection

with needing("operator", "Talking to a cluster"):
    from forensics_core.api.selection import LIMIT, PodQuery
    from forensics_core.kube.incident import of_incident, request_captures
    from forensics_core.kube.podcheckpoints import PodCheckpoints
    from forensics_core.kube.selection import select

if TYPE_CHECKING:
    from forensics_core.checkpoints.cluster import Checkpoint, Cluster


class Incident:
    """Many pods of one incident; made by `Cluster.incident`.

    All methods raise a `ClusterError` where the API says no, as those of `Cluster` do.
    """

    def __init__(self, cluster: Cluster, client: PodCheckpoints, incident: str) -> None:
        if not incident:
            raise UsageError("incident: it has no id", hint="Name one, such as INC-7")
        # The pod is any: only what is said of the incident is looked at.
        spec_of({}, pod="any", incident=incident)
        self._cluster = cluster
        self._client = client
        self.id = incident
        """What the label `forensics.orkaproj.io/incident` says."""

    async def select(
        self,
        *,
        namespace: str | None = None,
        selector: str = "",
        owner: str = "",
        node: str = "",
        image: str = "",
        every: bool = False,
        limit: int = LIMIT,
    ) -> Selection:
        """Find pods, and ask for nothing yet: how many, and which, the most urgent first.

        `namespace` is the kubeconfig's unless given, `*` is all. `selector` are labels
        (`app=web,tier!=db`), `owner` is `deployment/web`, `node` a node's name, `image` a digest
        (`sha256:` and at least 12 digits) or an image as it is written. All that is given has to
        hold; with nothing but `every` all pods are meant. Of more than `limit` the first
        are returned.

        Needs the right to list pods, and for an owner ReplicaSets or Jobs. Raises `UsageError` if
        nothing says which pods are meant, `Forbidden`, and `Invalid` for a selector that is none.
        """
        where = None if namespace == "*" else namespace or self._cluster.namespace
        query = PodQuery(where, selector, owner, node, image, every)
        return await select(self._cluster, query, limit=limit, collectors_in=self._client.namespace)

    async def checkpoint(
        self,
        selection: Selection | None = None,
        *,
        namespace: str | None = None,
        selector: str = "",
        owner: str = "",
        node: str = "",
        image: str = "",
        every: bool = False,
        limit: int = LIMIT,
        again: bool = False,
        **options: Unpack[CheckpointOptions],
    ) -> list[PodRequest]:
        """Ask for the capture of every pod that is meant; return what became of each request.

        Which pods: as with `select`, or what that returned. A pod whose capture was asked for
        already, for this incident and without failing, is left alone unless `again`. How each is
        captured: the arguments of `Cluster.checkpoint`. What is refused of one pod is in its
        `PodRequest`, and keeps nobody from asking for the others.

        Raises `NotFound` if no pod matches, `TooManyPods` if more than `limit` do; then nothing was
        asked for. Raises `UsageError` that names the argument which does not fit.
        """
        spec = spec_of(options, pod="any", incident=self.id)
        found = selection or await self.select(
            namespace=namespace,
            selector=selector,
            owner=owner,
            node=node,
            image=image,
            every=every,
            limit=limit,
        )
        found.check()
        return await request_captures(self._client, found.pods, spec, again=again)

    async def checkpoints(self) -> list[Checkpoint]:
        """Return all its checkpoints, by name."""
        return await self._cluster.checkpoints(incident=self.id)

    def follow(self) -> AsyncGenerator[Checkpoint, None]:
        """Yield its checkpoints as they are, then each whenever something of it changes.

        It ends when the last of them has ended; one that is made until then is followed, too.
        """
        return self._cluster.follow(incident=self.id)

    async def summary(self) -> IncidentSummary:
        """Return how all its pods stand: which may be killed, which failed, the first findings."""
        return IncidentSummary.of(self.id, await of_incident(self._client, self.id))
