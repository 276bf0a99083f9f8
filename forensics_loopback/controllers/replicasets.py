"""The ReplicaSet controller: as many pods as there should be, found by their labels.

A pod that has lost its labels is let go, and another one made in its place; one that has them and
belongs to nobody is taken in, and a pod too many goes. Selectors are plain labels here.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from forensics_core.kube.resources import PODS, REPLICA_SETS
from forensics_loopback.client.api import Api, amend
from forensics_loopback.controllers.reconciling import reconcile_owners
from forensics_loopback.kinds.objects import (
    Obj,
    clone,
    is_deleting,
    lookup,
    metadata,
    name_of,
    namespace_of,
    uid_of,
)
from forensics_loopback.kinds.pods import has_ended


class ReplicaSetController:
    """A client of the API; it leaves ReplicaSets without a template alone, which are for show."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def run(self) -> None:
        """Keep ReplicaSets at their size until cancelled."""
        await reconcile_owners(self._api, REPLICA_SETS, _has_template, self._sync)

    async def _sync(self, replica_set: Obj) -> None:
        there = await self._api.list(PODS, namespace_of(replica_set))
        own = [pod for pod in there if await self._claim(replica_set, pod)]
        active = [pod for pod in own if not (has_ended(pod) or is_deleting(pod))]
        wanted = replica_set["spec"].get("replicas", 1)
        for _ in range(wanted - len(active)):
            await self._api.create(PODS, _replica(replica_set))
        newest = sorted(active, key=lambda pod: int(metadata(pod)["resourceVersion"]))
        for pod in newest[wanted:]:
            await self._api.delete(PODS, pod)

    async def _claim(self, replica_set: Obj, pod: Obj) -> bool:
        """Take in a pod that is fit and free, let go of one that is not fit any more."""
        owner, fit = _controller(pod), _selects(replica_set, pod)
        if owner is not None and owner["uid"] == uid_of(replica_set):
            if not fit:
                release = partial(_release, uid=uid_of(replica_set))
                await amend(self._api, PODS, pod, release, "")
            return fit
        if owner is not None or not fit or is_deleting(pod) or has_ended(pod):
            return False
        await amend(self._api, PODS, pod, partial(_adopt, owner=_reference(replica_set)), "")
        return True


def _has_template(one: Obj) -> bool:
    return "template" in one["spec"]


def _selects(replica_set: Obj, pod: Obj) -> bool:
    labels = metadata(pod).get("labels") or {}
    wanted = lookup(replica_set, "spec.selector.matchLabels") or {}
    return bool(wanted) and all(labels.get(key) == value for key, value in wanted.items())


def _controller(pod: Obj) -> Obj | None:
    found = [one for one in metadata(pod).get("ownerReferences") or () if one.get("controller")]
    return found[0] if found else None


def _reference(replica_set: Obj) -> Obj:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": name_of(replica_set),
        "uid": uid_of(replica_set),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _release(pod: Obj, uid: str) -> None:
    left = [one for one in metadata(pod)["ownerReferences"] if one["uid"] != uid]
    metadata(pod)["ownerReferences"] = left


def _adopt(pod: Obj, owner: Obj) -> None:
    metadata(pod)["ownerReferences"] = [*(metadata(pod).get("ownerReferences") or ()), owner]


def _replica(replica_set: Obj) -> Obj:
    template: dict[str, Any] = clone(replica_set["spec"]["template"])
    own = {
        "generateName": f"{name_of(replica_set)}-",
        "namespace": namespace_of(replica_set),
        "ownerReferences": [_reference(replica_set)],
    }
    meta = {**template.get("metadata", {}), **own}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}
