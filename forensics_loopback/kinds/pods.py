"""What API server, controllers and kubelet all know of pods: owner, phase, node."""

from __future__ import annotations

from forensics_loopback.kinds.objects import Obj, lookup, metadata, now

TRACKING = "batch.kubernetes.io/job-tracking"
"""The finalizer that keeps a Job's pod until the Job has counted it."""


def owner_job(pod: Obj) -> Obj | None:
    """The reference to the Job that controls a pod, or None."""
    for ref in metadata(pod).get("ownerReferences") or ():
        if ref["kind"] == "Job" and ref.get("controller"):
            found: Obj = ref
            return found
    return None


def untrack(pod: Obj) -> None:
    """Take the Job's finalizer off, in place."""
    left = [f for f in metadata(pod).get("finalizers") or () if f != TRACKING]
    metadata(pod).pop("finalizers", None)
    if left:
        metadata(pod)["finalizers"] = left


def has_ended(pod: Obj) -> bool:
    """Whether the pod's containers are through."""
    return lookup(pod, "status.phase") in {"Succeeded", "Failed"}


def scheduled(pod: Obj, node: str) -> None:
    """The scheduler bound the pod to a node."""
    pod["spec"]["nodeName"] = node
    at = {"lastProbeTime": None, "lastTransitionTime": now()}
    pod["status"]["conditions"] = [{"type": "PodScheduled", "status": "True", **at}]


def disrupted(pod: Obj, reason: str) -> None:
    """The pod failed because it was taken off its node: evicted, preempted, its node lost."""
    status = pod.setdefault("status", {})
    status["phase"], status["reason"] = "Failed", reason
    status["message"] = f"The pod was disrupted: {reason}."
    target = {
        "type": "DisruptionTarget",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": now(),
        "reason": "TerminationByKubelet",
        "message": status["message"],
    }
    others = [c for c in status.get("conditions") or () if c["type"] != "DisruptionTarget"]
    status["conditions"] = [target, *others]
