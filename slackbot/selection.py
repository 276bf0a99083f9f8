"""Which pods a request means: only where somebody may capture, and may know what there is."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import anyio

from forensics_core._internal.tasks import task_group
from forensics_core.api.podcheckpoint import AfterCapture
from forensics_core.api.selection import SelectedPod, Selection
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.selection import select
from slackbot.authorisation import AccessScope, Authorisation, Person
from slackbot.catalogue import phrase
from slackbot.command import IncidentRequest
from slackbot.errors import Refused, UserMessage
from slackbot.pods import Pods
from slackbot.settings import Settings

AT_ONCE = 5
"""Namespaces whose pods are listed at once."""
NAMESPACES = 3
"""Namespaces that are named where too many pods match."""


class Selector:
    """Finds pods. Raises `UserMessage`, or a `ClusterError` such as `Invalid` for labels."""

    def __init__(
        self,
        cluster: ClusterConnection,
        pods: Pods,
        authorisation: Authorisation,
        settings: Settings,
    ) -> None:
        self._cluster = cluster
        self._pods = pods
        self._authorisation = authorisation
        self._settings = settings

    async def find(self, person: Person, request: IncidentRequest) -> Selection:
        """Return the pods that are meant: at least one, and no more than the limit.

        Without a namespace those of all namespaces count in which the person may capture.
        """
        namespaces = await self._namespaces(person, request)
        kept: list[SelectedPod] = []
        counts: Counter[str] = Counter()
        for found in await self._in_each(namespaces, request):
            counts.update(found.namespaces)
            kept += found.pods
        selection = Selection.of(request.query, kept, namespaces=counts, limit=request.limit)
        _check(selection, person.language)
        return selection

    async def _in_each(self, namespaces: list[str], request: IncidentRequest) -> list[Selection]:
        """Return what is selected in each namespace, in their order."""
        found: dict[str, Selection] = {}
        limiter = anyio.CapacityLimiter(AT_ONCE)

        async def look(namespace: str) -> None:
            async with limiter:
                found[namespace] = await self._in_namespace(namespace, request)

        async with task_group() as tasks:
            for namespace in namespaces:
                tasks.start_soon(look, namespace)
        return [found[namespace] for namespace in namespaces]

    async def _in_namespace(self, namespace: str, request: IncidentRequest) -> Selection:
        query = replace(request.query, namespace=namespace)
        collectors = self._settings.namespace
        return await select(self._cluster, query, limit=request.limit, collectors_in=collectors)

    async def _namespaces(self, person: Person, request: IncidentRequest) -> list[str]:
        if request.query.namespace:
            scope = _scope(request, request.query.namespace)
            # Before anything is looked up: the answer must not tell which pods exist.
            await self._authorisation.permit(person, scope)
            if not await self._authorisation.may_list_pods(person, scope.namespace):
                names = {"identity": person.identity.username, "namespace": scope.namespace}
                raise Refused("refused.access", **names, right="list pods")
            return [scope.namespace]
        there = await self._pods.namespaces()
        return sorted(await self._authorisation.visible(person, there, listed=True))


def _scope(request: IncidentRequest, namespace: str) -> AccessScope:
    delete = request.how.after_capture is not AfterCapture.KEEP
    return AccessScope(namespace, isolate=request.how.isolate, delete=delete)


def _check(selection: Selection, language: str) -> None:
    query = str(selection.query)
    if not selection.total:
        raise UserMessage("error.noneMatch", query=query)
    if selection.too_many:
        where = where_text(selection, language)
        counts = {"total": f"{selection.total:,}", "limit": f"{selection.limit:,}"}
        raise UserMessage("error.tooMany", **counts, where=where)


def where_text(selection: Selection, language: str) -> str:
    """Return how many pods there are in each namespace, the most first."""
    most = Counter(selection.namespaces).most_common()
    said = [phrase(language, "preview.count", count=f"{n:,}", namespace=name) for name, n in most]
    left = len(said) - NAMESPACES
    more = [phrase(language, "incident.more", count=left)] if left > 0 else []
    return ", ".join([*said[:NAMESPACES], *more])
