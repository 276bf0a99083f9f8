"""Holds: a finalizer that keeps a pod in the API after its deletion, for so many seconds at most.

The seconds are a label on the pod, so whoever finds the pod knows when it has to be free, also
where neither rules nor operator are left to ask. Both patches say which pod they mean by its UID,
and leave the rest of it alone, so they can be repeated, by several at once.
"""

from __future__ import annotations

from collections.abc import Mapping

from forensics_core.api.names import HOLD_FINALIZER, HOLD_LABEL
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.objects import Object, Objects, deletion_asked_at
from forensics_core.kube.resources import PODS

MAX_SECONDS = 600
"""What a rule may ask for at most. A label that says more, or what is no number, counts as this."""
STRATEGIC_PATCH = "application/strategic-merge-patch+json"


def is_held(metadata: Object) -> bool:
    """Return whether a hold keeps the object."""
    return HOLD_FINALIZER in (metadata.get("finalizers") or ())


def seconds_of(labels: Mapping[str, str] | None) -> int:
    """Return for how many seconds a pod with these labels may be held."""
    text = (labels or {}).get(HOLD_LABEL, "")
    # Anybody who may patch the pod can have written it.
    fit = text.isascii() and text.isdigit() and len(text) <= len(str(MAX_SECONDS))
    return min(int(text), MAX_SECONDS) if fit else MAX_SECONDS


def held_until(metadata: Object) -> float | None:
    """Return when a hold ends whatever happens, in seconds since 1970.

    None where there is none, or nobody has asked for the deletion yet.
    """
    asked = deletion_asked_at(metadata)
    if asked is None or not is_held(metadata):
        return None
    return asked + seconds_of(metadata.get("labels"))


async def hold_pod(
    cluster: ClusterConnection, namespace: str, name: str, uid: str, seconds: int
) -> None:
    """Put the hold on a pod. Raises `Conflict` for another pod, `Invalid` for one being deleted."""
    # A strategic patch adds to the list; a merge patch would put ours in place of everybody's.
    marked = {"labels": {HOLD_LABEL: str(seconds)}, "finalizers": [HOLD_FINALIZER]}
    await _patch(cluster, namespace, name, {"uid": uid, **marked})


async def free_pod(cluster: ClusterConnection, namespace: str, name: str, uid: str) -> None:
    """Take the hold off a pod; one without is left as it is. Raises `Conflict` for another pod."""
    gone = {"labels": {HOLD_LABEL: None}, "$deleteFromPrimitiveList/finalizers": [HOLD_FINALIZER]}
    await _patch(cluster, namespace, name, {"uid": uid, **gone})


async def _patch(cluster: ClusterConnection, namespace: str, name: str, metadata: Object) -> None:
    patch = {"metadata": metadata}
    await Objects(cluster, PODS).patch(name, namespace, patch, content_type=STRATEGIC_PATCH)
