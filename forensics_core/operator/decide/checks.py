"""Whether a pod can be captured at all. Pure: each check returns why not, or nothing.

The order is the design's: the pod exists, it is the pod that was meant, the destination is allowed,
the runtime is one whose containers can be read from the node.
"""

from __future__ import annotations

from dataclasses import dataclass

from forensics_core.api.names import EXPECTED_POD_UID_ANNOTATION
from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.bundle.layout import BUNDLE_NAME_ROOM, inside_a_bundle
from forensics_core.kube.objects import Object
from forensics_core.operator.attempt.pods import container_names, targets
from forensics_core.operator.settings import Settings
from forensics_core.storage.locate import MAX_PREFIX

SANDBOXES = ("gvisor", "runsc", "kata", "firecracker", "confidential")
"""What the runtime classes of sandboxed containers are called, or begin with."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request cannot be fulfilled."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class NotYet:
    """Why a request has to wait."""

    reason: str
    message: str
    capturable: bool = False
    """Whether the pod itself is ready: then its context is gathered meanwhile."""


def check(
    checkpoint: PodCheckpoint, pod: Object | None, node: Object | None, settings: Settings
) -> Refusal | NotYet | None:
    """Return what stands against capturing `pod` now, or None."""
    if pod is None:
        return _pod_gone(checkpoint)
    return (
        _replaced(checkpoint, pod)
        or _destination(checkpoint, settings)
        or _retention(checkpoint, settings)
        or _runtime(pod)
        or _containers(checkpoint, pod)
        or _scheduled(checkpoint, pod)
        or _node(pod, node)
    )


def _pod_gone(checkpoint: PodCheckpoint) -> Refusal:
    pod, namespace = checkpoint.spec.pod, checkpoint.target_namespace
    if checkpoint.status.pod_uid:
        return Refusal("PodGone", f"The pod '{pod}' is gone from the '{namespace}' namespace.")
    return Refusal(
        "NotFound", f"The specified Pod '{pod}' was not found in the '{namespace}' namespace."
    )


def _replaced(checkpoint: PodCheckpoint, pod: Object) -> Refusal | None:
    expected = checkpoint.metadata.annotations.get(EXPECTED_POD_UID_ANNOTATION)
    # A StatefulSet gives the next pod the same name: only the UID tells them apart.
    pinned, found = expected or checkpoint.status.pod_uid, pod["metadata"]["uid"]
    if not pinned or pinned == found:
        return None
    return Refusal(
        "PodReplaced",
        f"The pod '{checkpoint.spec.pod}' was replaced: {pinned} was asked for, {found} is there "
        "now. Create another PodCheckpoint if you mean the new one.",
    )


def _destination(checkpoint: PodCheckpoint, settings: Settings) -> Refusal | None:
    destination = settings.destination_of(checkpoint)
    if not destination:
        return Refusal(
            "NoDestination",
            "The operator has no default destination: set spec.destination to s3://bucket[/prefix].",
        )
    if settings.rule_for(destination) is None:
        known = ", ".join(rule.prefix for rule in settings.destinations) or "none"
        return Refusal(
            "DestinationNotAllowed",
            f"Evidence may not go to {destination}. The operator allows: {known}.",
        )
    return _folder(checkpoint, f"{destination.rstrip('/')}/{checkpoint.spec.subpath}")


def _folder(checkpoint: PodCheckpoint, folder: str) -> Refusal | None:
    """Return why no bundle can lie in a folder, though its beginning is allowed."""
    if not {".", ".."}.isdisjoint(folder.split("/")):
        return Refusal(
            "DestinationNotAllowed",
            f"Evidence may not go to {folder}: '.' and '..' mean another folder to some stores.",
        )
    pod, namespace = checkpoint.spec.pod, checkpoint.target_namespace
    prefix = folder.removeprefix("s3://").partition("/")[2].strip("/")
    longest = len(f"{prefix}/{namespace}_{pod}") + BUNDLE_NAME_ROOM
    if longest > MAX_PREFIX:
        return Refusal(
            "DestinationTooLong",
            f"The bundle's folder in {folder} would have a path of {longest} characters, more than "
            f"{MAX_PREFIX}: name a shorter destination or subpath.",
        )
    if inside_a_bundle(folder):
        return inside_another(folder)
    return None


def inside_another(place: str) -> Refusal:
    """Return the refusal of a destination that lies in somebody's bundle."""
    return Refusal(
        "DestinationIsBundle",
        f"Evidence may not go to {place}: it lies inside another bundle, which would not verify "
        "any more. Name the folder above it.",
    )


def _retention(checkpoint: PodCheckpoint, settings: Settings) -> Refusal | None:
    retention, most = checkpoint.spec.retention, settings.max_retention_days
    if retention is None or (retention.days or 0) <= most:
        return None
    return Refusal(
        "RetentionTooLong",
        f"Evidence may be locked for {most} days at most, not {retention.days}: see "
        "maxRetentionDays in the operator's settings.",
    )


def _runtime(pod: Object) -> Refusal | None:
    spec = pod.get("spec", {})
    name = str(spec.get("runtimeClassName") or "").lower()
    if any(name.startswith(sandbox) for sandbox in SANDBOXES):
        return Refusal(
            "RuntimeNotSupported",
            f"The pod runs in a sandbox (runtime class '{name}') whose containers cannot be read "
            "from the node.",
        )
    # Pods say it themselves since Kubernetes 1.25; before that only where they may run.
    system = spec.get("os", {}).get("name") or spec.get("nodeSelector", {}).get("kubernetes.io/os")
    if system == "windows":
        return Refusal("RuntimeNotSupported", "Windows containers cannot be captured.")
    return None


def _containers(checkpoint: PodCheckpoint, pod: Object) -> Refusal | None:
    there = container_names(pod)
    unknown = [name for name in checkpoint.spec.containers if name not in there]
    if not unknown:
        return None
    return Refusal(
        "ContainerNotFound",
        f"The pod has no container {', '.join(unknown)}. It has: {', '.join(there)}.",
    )


def _scheduled(checkpoint: PodCheckpoint, pod: Object) -> NotYet | None:
    if not pod.get("spec", {}).get("nodeName"):
        return NotYet("PodPending", "The pod has not been scheduled to a node yet.")
    if not targets(pod, checkpoint.spec.containers):
        return NotYet("PodPending", "None of the pod's containers has been created yet.")
    return None


def _node(pod: Object, node: Object | None) -> Refusal | NotYet | None:
    name = pod["spec"]["nodeName"]
    if node is None:
        return Refusal("NodeGone", f"The pod's node '{name}' is not in the cluster any more.")
    labels = node.get("metadata", {}).get("labels") or {}
    info = node.get("status", {}).get("nodeInfo") or {}
    if labels.get("kubernetes.io/os") == "windows" or info.get("operatingSystem") == "windows":
        return Refusal("RuntimeNotSupported", f"The node '{name}' runs Windows.")
    # There each pod has a machine of its own, which nothing else is started on.
    if labels.get("eks.amazonaws.com/compute-type") == "fargate":
        return Refusal(
            "RuntimeNotSupported", f"The node '{name}' is Fargate: no Job can run there."
        )
    if labels.get("type") == "virtual-kubelet":
        return Refusal("RuntimeNotSupported", f"The node '{name}' is virtual: it has no runtime.")
    return _ready(name, node)


def _ready(name: str, node: Object) -> NotYet | None:
    for condition in node.get("status", {}).get("conditions") or []:
        # Of a node that is not heard of any more it is Unknown, not False.
        if condition.get("type") == "Ready" and condition.get("status") != "True":
            message = f"The node '{name}' is not ready, so that nothing can be started there."
            return NotYet("NodeNotReady", message, capturable=True)
    return None
