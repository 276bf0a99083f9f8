"""The objects of an isolation: the network policy, and what is changed on the pod. Pure.

Both are recognised by the checkpoint's UID, so that whoever comes second finds what is there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from forensics_core.api.names import (
    CHECKPOINT_UID_LABEL,
    GROUP,
    ISOLATED_LABEL,
    REMOVED_LABELS_ANNOTATION,
)
from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.kube.objects import Object

CHECKPOINT_ANNOTATION = f"{GROUP}/checkpoint"
"""On the policy: `namespace/name` of the checkpoint that lifts it."""
CONTROLLER_ANNOTATION = f"{GROUP}/controller"
"""On the pod: the reference to the controller that it had, as JSON."""
MAX_JSON = 64 * 1024
"""Characters of an annotation that are read: whoever may change the pod writes there."""
_OWNER = ("apiVersion", "kind", "name", "uid")
"""What a reference to a controller says, each as text."""
_KEY = re.compile(r"([a-z0-9][-a-z0-9.]{0,252}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABELS = {"app.kubernetes.io/name": "kube-forensics", "app.kubernetes.io/component": "isolation"}


def short_uid(checkpoint: PodCheckpoint) -> str:
    """Return the part of the checkpoint's UID that names its isolation."""
    return (checkpoint.metadata.uid or "")[:8]


def policy_name(checkpoint: PodCheckpoint) -> str:
    """Return the name of the network policy."""
    return f"forensics-isolate-{short_uid(checkpoint)}"


def build_policy(checkpoint: PodCheckpoint, pod: Object) -> Object:
    """Return the policy that lets nothing in and nothing out of the one pod.

    It belongs to the pod, and so goes with it, and with nothing else: a PodCheckpoint that is
    deleted must not set its pod free.
    """
    metadata = checkpoint.metadata
    pod_metadata = pod["metadata"]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": policy_name(checkpoint),
            "namespace": pod_metadata["namespace"],
            "labels": _LABELS | {CHECKPOINT_UID_LABEL: metadata.uid or ""},
            "annotations": {CHECKPOINT_ANNOTATION: f"{metadata.namespace}/{metadata.name}"},
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": pod_metadata["name"],
                    "uid": pod_metadata["uid"],
                }
            ],
        },
        "spec": _spec(short_uid(checkpoint)),
    }


def cuts_off(policy: Object, uid: str) -> bool:
    """Whether a policy isolates the pods whose label says `uid`, which is shortened."""
    return bool(policy.get("spec") == _spec(uid))


def _spec(uid: str) -> Object:
    return {
        "podSelector": {"matchLabels": {ISOLATED_LABEL: uid}},
        "policyTypes": ["Ingress", "Egress"],
    }


def is_own_policy(policy: Object, checkpoint: PodCheckpoint) -> bool:
    """Whether a policy was made for this checkpoint, and still isolates."""
    labels = policy["metadata"].get("labels") or {}
    return labels.get(CHECKPOINT_UID_LABEL) == checkpoint.metadata.uid


def is_isolated(pod: Object, checkpoint: PodCheckpoint) -> bool:
    """Whether the pod carries the label that this checkpoint's policy selects."""
    return _labels(pod).get(ISOLATED_LABEL) == short_uid(checkpoint)


def isolated_for(pod: Object) -> str:
    """Return the UID, shortened, of the checkpoint that a pod is isolated for, or nothing."""
    return str(_labels(pod).get(ISOLATED_LABEL) or "")


def isolating_patch(
    checkpoint: PodCheckpoint, pod: Object, removed: Mapping[str, str]
) -> Object | None:
    """Return the merge patch that isolates the pod, None if it is already as it should be.

    It holds for the pod as it was read only: another version, or another pod, is a conflict.
    """
    again = is_isolated(pod, checkpoint)
    if again and not removed:
        return None
    # Until then they are the words of whoever made the pod, which a release would apply.
    before = removed_labels(pod) if again else {}
    annotations: dict[str, str | None] = {
        REMOVED_LABELS_ANNOTATION: _json(before | dict(removed)),
    }
    owner = controller_of(pod)
    if owner is not None or not again:
        annotations[CONTROLLER_ANNOTATION] = _json(owner) if owner else None
    gone: dict[str, str | None] = dict.fromkeys(removed)
    return _patch(pod, gone | {ISOLATED_LABEL: short_uid(checkpoint)}, annotations)


def releasing_patch(checkpoint: PodCheckpoint, pod: Object) -> Object | None:
    """Return the merge patch that undoes it, None if the pod is not isolated for this checkpoint.

    A label that somebody has set since then stays as it is.
    """
    if not is_isolated(pod, checkpoint):
        return None
    there = _labels(pod)
    back: dict[str, str | None] = {
        key: value for key, value in removed_labels(pod).items() if key not in there
    }
    names = (REMOVED_LABELS_ANNOTATION, CONTROLLER_ANNOTATION)
    return _patch(pod, back | {ISOLATED_LABEL: None}, dict.fromkeys(names))


def as_it_was(pod: Object) -> Object:
    """Return an isolated pod with the labels and the controller that it had before.

    What surrounds it is looked for by these: its owners, the services that it was part of.
    """
    if not isolated_for(pod):
        return pod
    metadata = pod["metadata"]
    labels = removed_labels(pod) | _labels(pod)
    owner = _read(pod, CONTROLLER_ANNOTATION)
    fit = all(isinstance(owner.get(key), str) for key in _OWNER)
    references = metadata.get("ownerReferences") or ([owner] if fit else [])
    return {**pod, "metadata": {**metadata, "labels": labels, "ownerReferences": references}}


def removed_labels(pod: Object) -> dict[str, str]:
    """Return the labels that the pod has lost; what is no such list, or no label, is none."""
    found = _read(pod, REMOVED_LABELS_ANNOTATION)
    return {key: value for key, value in found.items() if _is_label(key, value)}


def controller_of(item: Object) -> Object | None:
    """Return the reference to what controls an object, or None."""
    references = item["metadata"].get("ownerReferences") or []
    return next((one for one in references if one.get("controller")), None)


def _patch(
    pod: Object, labels: Mapping[str, str | None], annotations: Mapping[str, str | None]
) -> Object:
    seen = pod["metadata"]
    versions = {"uid": seen["uid"], "resourceVersion": seen["resourceVersion"]}
    return {"metadata": {**versions, "labels": dict(labels), "annotations": dict(annotations)}}


def _is_label(key: str, value: object) -> bool:
    """Whether the API server takes it: one that it refuses would keep the pod from its release."""
    return bool(isinstance(value, str) and _KEY.fullmatch(key) and _VALUE.fullmatch(value))


def _labels(pod: Object) -> dict[str, str]:
    return dict(pod["metadata"].get("labels") or {})


def _read(pod: Object, annotation: str) -> dict[str, Any]:
    text = str((pod["metadata"].get("annotations") or {}).get(annotation) or "")
    try:
        found = json.loads(text) if 0 < len(text) <= MAX_JSON else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
