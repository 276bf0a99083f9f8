"""The pods of the cluster, as far as the bot has to know them: names, UIDs, containers."""

from __future__ import annotations

import difflib
from contextlib import aclosing
from dataclasses import dataclass

from forensics_core.errors import NotFound
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.objects import Object, ObjectList, Objects
from forensics_core.kube.resources import PODS
from slackbot.cache import SharedAnswers

KEPT_SECONDS = 30.0
"""Seconds that names are believed, for suggestions while somebody types."""
MAX_SIMILAR = 3
"""Similar names that are suggested."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that is there now."""

    namespace: str
    name: str
    uid: str
    node: str
    containers: tuple[str, ...]
    """Regular, init and ephemeral ones."""


class Pods:
    """Reads pods. Errors are those of `ClusterConnection.request`."""

    def __init__(self, cluster: ClusterConnection) -> None:
        self._objects = Objects(cluster, PODS)
        self._names: SharedAnswers[dict[str, list[str]]] = SharedAnswers(KEPT_SECONDS)

    async def get(self, namespace: str, name: str) -> Pod | None:
        """Return a pod, or None where there is none."""
        try:
            return _pod(await self._objects.get(name, namespace))
        except NotFound:
            return None

    async def names(self, namespace: str) -> list[str]:
        """Return the names of the pods in a namespace, in order."""
        return (await self._by_namespace(namespace)).get(namespace, [])

    async def namespaces(self) -> list[str]:
        """Return the namespaces that have pods, in order: the bot may not list namespaces."""
        return sorted(await self._by_namespace(""))

    async def _by_namespace(self, namespace: str) -> dict[str, list[str]]:
        """Return the names by namespace; nothing else of the pods is fetched, or held."""

        async def load() -> dict[str, list[str]]:
            found: dict[str, list[str]] = {}
            # In pages: a cluster may have a hundred thousand pods.
            pages = self._objects.pages(namespace or None, metadata_only=True)
            async with aclosing(pages):
                async for page in pages:
                    _fold(page, found)
            return {one: sorted(names) for one, names in found.items()}

        return await self._names.get(namespace, load)


def near(name: str, names: list[str]) -> list[str]:
    """Return the names that somebody who typed `name` may have meant, in order."""
    # What was typed may be the Deployment, without the suffix that its pods have.
    begins = [one for one in names if one.startswith(name)]
    alike = difflib.get_close_matches(name, names, n=MAX_SIMILAR, cutoff=0.6)
    return sorted(list(dict.fromkeys([*begins, *alike]))[:MAX_SIMILAR])


def _fold(page: ObjectList, found: dict[str, list[str]]) -> None:
    for item in page.items:
        metadata = item["metadata"]
        found.setdefault(metadata["namespace"], []).append(metadata["name"])


def _pod(item: Object) -> Pod:
    spec, metadata = item.get("spec", {}), item["metadata"]
    kinds = ("containers", "initContainers", "ephemeralContainers")
    return Pod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        node=spec.get("nodeName", ""),
        containers=tuple(one["name"] for kind in kinds for one in spec.get(kind) or ()),
    )
