"""What is kept of objects that the watches report: what decisions need, and no more."""

from __future__ import annotations

from sys import intern
from typing import Any

from forensics_core.api.names import (
    EXPECTED_POD_UID_ANNOTATION,
    RULE_LABEL,
    TRIGGER_KEY_ANNOTATION,
)
from forensics_core.kube.objects import Object

KEPT = (
    *("name", "namespace", "uid", "resourceVersion", "labels"),
    *("creationTimestamp", "deletionTimestamp"),
)
"""Of an object's metadata."""


def slim_checkpoint(checkpoint: Object) -> Object:
    """Return what is needed of a checkpoint whose deletion was missed.

    Little, as thousands that have finished may be there; of a rule's what its limits count by.
    """
    metadata = checkpoint["metadata"]
    kept = _some(metadata, "name", "uid", "resourceVersion")
    # The same for all of them, and each answer has a string of its own.
    kept["namespace"] = intern(metadata["namespace"])
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    if RULE_LABEL not in labels:
        return {"metadata": kept, "spec": _some(checkpoint["spec"], "pod")}
    kept |= _some(metadata, "creationTimestamp")
    kept["labels"] = _some(labels, RULE_LABEL)
    kept["annotations"] = _some(annotations, EXPECTED_POD_UID_ANNOTATION, TRIGGER_KEY_ANNOTATION)
    return {"metadata": kept, "spec": _some(checkpoint["spec"], "pod", "namespace")}


def slim_child(child: Object) -> Object:
    """Return what is needed of a Job or a pod whose deletion was missed."""
    return {"metadata": _metadata(child)}


def slim_job(job: Object) -> Object:
    """Return what decisions need of a Job."""
    status = job.get("status") or {}
    return {"metadata": _metadata(job), "status": _some(status, "conditions", "active")}


def slim_pod(pod: Object) -> Object:
    """Return what decisions need of a Job's pod."""
    wanted = ("phase", "reason", "message", "conditions", "containerStatuses")
    return {"metadata": _metadata(pod), "status": _some(pod.get("status") or {}, *wanted)}


def _metadata(item: Object) -> Object:
    return _some(item["metadata"], *KEPT)


def _some(item: Object, *names: str) -> dict[str, Any]:
    return {name: item[name] for name in names if name in item}
