"""Finding the pods that are meant, with the caller's own rights::

    selection = await select(cluster, PodQuery(namespace="shop", owner="deployment/web"))
    selection.check()  # raises NotFound for none, TooManyPods for more than the limit

It reads page by page and keeps the first `limit` of them: a cluster has thousands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing

from forensics_core.api.names import CHECKPOINT_UID_LABEL
from forensics_core.api.selection import LIMIT, PodQuery, SelectedPod, Selection, controller_of
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.objects import Object, Objects
from forensics_core.kube.resources import JOBS, PODS, REPLICA_SETS, Resource

_MADE_BY: Mapping[str, tuple[Resource, ...]] = {
    "deployment": (REPLICA_SETS,),
    "cronjob": (JOBS,),
    "daemonset": (),
    "job": (),
    "node": (),
    "replicaset": (),
    "replicationcontroller": (),
    "statefulset": (),
}
"""What stands between a kind and its pods: nothing, where it makes them itself."""
_BETWEEN = (REPLICA_SETS, JOBS)
"""The same for kinds that others define, such as a Rollout: nobody knows what those make."""


async def select(
    cluster: ClusterConnection, query: PodQuery, *, limit: int = LIMIT, collectors_in: str = ""
) -> Selection:
    """Return the pods that are meant, the most urgent first; `limit` of them, and how many exist.

    Collectors' own pods, in the namespace `collectors_in`, are none. Raises `Forbidden` where the
    caller may not list pods (or ReplicaSets and Jobs, if there is an owner), and `Invalid` for a
    selector that is none.
    """
    owners = await _owners(cluster, query)
    kept: list[SelectedPod] = []
    namespaces: Counter[str] = Counter()
    found = Objects(cluster, PODS).pages(
        query.namespace,
        label_selector=query.selector,
        field_selector=f"spec.nodeName={query.node}" if query.node else "",
    )
    async with aclosing(found) as pages:
        async for page in pages:
            for pod in page.items:
                if _is_collector(pod, collectors_in) or not _is_meant(pod, query, owners):
                    continue
                namespaces[pod["metadata"]["namespace"]] += 1
                if len(kept) < limit:
                    kept.append(SelectedPod.of(pod))
    return Selection.of(query, kept, namespaces=namespaces, limit=limit)


def _is_collector(pod: Object, namespace: str) -> bool:
    """Whether it is a collector's: in that namespace only, as anybody may label pods elsewhere."""
    metadata = pod["metadata"]
    labels = metadata.get("labels") or {}
    return metadata["namespace"] == namespace and CHECKPOINT_UID_LABEL in labels


def _is_meant(pod: Object, query: PodQuery, owners: frozenset[str]) -> bool:
    return query.of_image(pod) and (not query.owner or _is_owned(pod, query, owners))


def _is_owned(pod: Object, query: PodQuery, owners: frozenset[str]) -> bool:
    reference = controller_of(pod)
    if reference is None:
        return False
    return reference["uid"] in owners or _is_owner(reference, query)


def _is_owner(reference: Mapping[str, str], query: PodQuery) -> bool:
    return (reference["kind"].lower(), reference["name"]) == query.owner_parts


async def _owners(cluster: ClusterConnection, query: PodQuery) -> frozenset[str]:
    """Return the UIDs of what the owner controls and what controls pods: ReplicaSets, Jobs."""
    if not query.owner:
        return frozenset()
    kind, _ = query.owner_parts
    found: set[str] = set()
    for resource in _MADE_BY.get(kind, _BETWEEN):
        found |= await _controlled(cluster, resource, query)
    return frozenset(found)


async def _controlled(cluster: ClusterConnection, resource: Resource, query: PodQuery) -> set[str]:
    found = Objects(cluster, resource).pages(query.namespace, metadata_only=True)
    uids: set[str] = set()
    async with aclosing(found) as pages:
        async for page in pages:
            for item in page.items:
                reference = controller_of(item)
                if reference is not None and _is_owner(reference, query):
                    uids.add(item["metadata"]["uid"])
    return uids
