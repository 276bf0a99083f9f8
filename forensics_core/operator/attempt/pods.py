"""What pods and Jobs say: which containers there are, whether a collector started, how it ended.

Pure: data in, data out. All of it is what others wrote, so nothing here relies on its form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from forensics_core._internal import strict_json
from forensics_core.api.order import ContainerTarget
from forensics_core.errors import Forbidden
from forensics_core.kube.objects import Object

LABELS = {"app.kubernetes.io/name": "kube-forensics", "app.kubernetes.io/component": "collector"}
SELECTOR = ",".join(f"{key}={value}" for key, value in LABELS.items())
"""By which the operator knows its Jobs, and their pods."""
COLLECTOR = "collector"
"""The name of the only container in the pod of an attempt's Job."""
STATUS_LISTS = (
    ("initContainers", "initContainerStatuses"),
    ("containers", "containerStatuses"),
    ("ephemeralContainers", "ephemeralContainerStatuses"),
)
"""Where a pod keeps its containers and what became of them."""


def container_names(pod: Object) -> list[str]:
    """Return the names of all containers of a pod: init and sidecar, regular, ephemeral."""
    spec = pod.get("spec", {})
    return [one["name"] for group, _ in STATUS_LISTS for one in spec.get(group) or []]


def targets(pod: Object, wanted: Sequence[str]) -> tuple[ContainerTarget, ...]:
    """Return the containers to capture that a runtime knows; those never created are left out."""
    status = pod.get("status", {})
    found = [one for _, group in STATUS_LISTS for one in status.get(group) or []]
    return tuple(
        ContainerTarget(
            name=one["name"],
            container_id=one["containerID"],
            image=one.get("image", ""),
        )
        for one in found
        if one.get("containerID") and (not wanted or one["name"] in wanted)
    )


def never_created(pod: Object, wanted: Sequence[str]) -> list[str]:
    """Return the names of wanted containers that no runtime has made yet."""
    known = {target.name for target in targets(pod, ())}
    asked = [name for name in container_names(pod) if not wanted or name in wanted]
    return [name for name in asked if name not in known]


def node_of(pod: Object | None) -> str:
    """Return the name of the node that a pod is on, or nothing."""
    return str((pod or {}).get("spec", {}).get("nodeName") or "")


def reason_word(text: str, default: str) -> str:
    """Return `text` as a condition's reason: ASCII letters and digits, the first one a letter.

    Pods, nodes and manifests can say anything; a status that the API server refuses helps nobody.
    """
    return re.sub("[^A-Za-z0-9]+", "", text).lstrip("0123456789")[:60] or default


_MAX_TERMINATION_MESSAGE = 16 * 1024
"""Bytes of a termination message: a kubelet takes 4 KiB, a hostile one what it likes."""


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """How an attempt's Job ended, as far as the cluster knows: a hint, never the result."""

    reason: str
    """One CamelCase word."""
    message: str
    retry: bool
    """Whether another attempt may fare better."""


QUOTA_EXCEEDED = "QuotaExceeded"
"""Why nothing can be made: a ResourceQuota of the namespace is used up."""
_NO_QUOTA = "exceeded quota"
"""How the API server, and a Job's events, say so."""
NEVER_STARTS = {"ErrImageNeverPull", "InvalidImageName"}
"""What the kubelet says of an image that every attempt would fail with in the same way."""


def is_out_of_quota(error: Exception) -> bool:
    """Return whether the API server refused something because a quota is used up."""
    return isinstance(error, Forbidden) and _NO_QUOTA in str(error)


def job_finished(job: Object) -> bool:
    """Return whether the Job is over, well or not."""
    conditions = job.get("status", {}).get("conditions") or []
    return any(
        condition.get("type") in {"Complete", "Failed"} and condition.get("status") == "True"
        for condition in conditions
    )


def created_at(job: Object | None) -> datetime | None:
    """Return when a Job was made, if there is one and it says so."""
    made = (job or {}).get("metadata", {}).get("creationTimestamp")
    return datetime.fromisoformat(made) if made else None


def ended_at(job: Object, default: datetime) -> datetime:
    """Return when a Job came to its end, as far as it says."""
    ended = [
        datetime.fromisoformat(condition["lastTransitionTime"])
        for condition in job.get("status", {}).get("conditions") or []
        if condition.get("type") in {"Complete", "Failed"} and condition.get("lastTransitionTime")
    ]
    return max(ended, default=default)


def is_being_deleted(item: Object) -> bool:
    """Return whether somebody has asked for the deletion of a Job or a pod."""
    return bool(item["metadata"].get("deletionTimestamp"))


def gone_at(collector_pod: Object | None) -> datetime | None:
    """Return by when a pod that is being deleted has to be gone, or None if it is not."""
    deadline = (collector_pod or {}).get("metadata", {}).get("deletionTimestamp")
    return datetime.fromisoformat(deadline) if deadline else None


def terminated(collector_pod: Object) -> dict[str, Any] | None:
    """Return the state of the collector in its pod, if it has ended."""
    for status in collector_pod.get("status", {}).get("containerStatuses") or []:
        ended = status.get("state", {}).get("terminated")
        if status.get("name") == COLLECTOR and ended:
            return dict(ended)
    return None


def started(collector_pod: Object) -> bool:
    """Return whether the collector runs in its pod, or has run."""
    states = [
        status.get("state", {})
        for status in collector_pod.get("status", {}).get("containerStatuses") or []
        if status.get("name") == COLLECTOR
    ]
    return any("running" in state or "terminated" in state for state in states)


def cannot_start(collector_pod: Object) -> bool:
    """Return whether the collector cannot start, however long it is waited for."""
    return any(waiting.get("reason") == "InvalidImageName" for waiting in _waiting(collector_pod))


def _waiting(collector_pod: Object) -> list[Mapping[str, Any]]:
    statuses = collector_pod.get("status", {}).get("containerStatuses") or []
    found = (status.get("state", {}).get("waiting") for status in statuses)
    return [waiting for waiting in found if waiting]


def delay(collector_pod: Object, node: str) -> JobOutcome:
    """Return why the collector has not started in its pod, which is to be on `node`."""
    for waiting in _waiting(collector_pod):
        return _delay(waiting)
    for condition in collector_pod.get("status", {}).get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _delay(condition)
    return JobOutcome("NotStarted", f"The node '{node}' has not started the collector", retry=True)


def delay_of_job(events: Sequence[Object]) -> JobOutcome:
    """Return why a Job has made no pod, from the events about it."""
    warnings = [event for event in events if event.get("type") == "Warning"]
    if warnings:
        return _delay(max(warnings, key=lambda one: str(one.get("lastTimestamp") or "")))
    return JobOutcome("NoWorker", "The Job has not made a pod", retry=True)


def _delay(said: Mapping[str, Any]) -> JobOutcome:
    """Read the reason and message of a state, a condition or an event.

    The kubelet alternates between two words for an image that does not come.
    """
    reason = reason_word(str(said.get("reason") or ""), "NotStarted")
    message = str(said.get("message") or "").rstrip(".")[:1024]
    if reason == "ErrImagePull":
        reason = "ImagePullBackOff"
    if _NO_QUOTA in message:
        reason = QUOTA_EXCEEDED
    message = message or f"The collector's container waits: {reason}"
    return JobOutcome(reason, message, retry=reason not in NEVER_STARTS)


def outcome(job: Object | None, collector_pod: Object | None) -> JobOutcome:
    """Return why an attempt left no manifest, from whatever the cluster still remembers."""
    ended = terminated(collector_pod) if collector_pod else None
    hint = _hint(str(ended.get("message") or "")) if ended else None
    if hint:
        return hint
    pod_reason = str((collector_pod or {}).get("status", {}).get("reason") or "")
    if pod_reason:
        said = str((collector_pod or {}).get("status", {}).get("message") or "")
        said = said or f"The collector's pod ended: {pod_reason}"
        return JobOutcome(reason_word(pod_reason, "PodFailed"), said, retry=True)
    if ended:
        return _of_container(ended)
    for condition in (job or {}).get("status", {}).get("conditions") or []:
        if condition.get("type") == "Failed" and condition.get("status") == "True":
            message = str(condition.get("message") or "The Job failed")
            reason = reason_word(str(condition.get("reason") or ""), "JobFailed")
            return JobOutcome(reason, message, retry=True)
    return JobOutcome("WorkerLost", "The collector's pod is gone without a word", retry=True)


def _of_container(ended: Mapping[str, Any]) -> JobOutcome:
    reason, code = str(ended.get("reason") or "Error"), int(ended.get("exitCode", 1))
    if reason == "Completed":
        return JobOutcome("NoManifest", "The collector ended well but left no manifest", retry=True)
    message = f"The collector ended with code {code} ({reason})"
    return JobOutcome(reason_word(reason, "Error"), message, retry=True)


def _hint(message: str) -> JobOutcome | None:
    """Read the collector's own last words; a node can write anything there."""
    try:
        words = strict_json.loads(message.encode(), limit=_MAX_TERMINATION_MESSAGE)
    except ValueError:
        return None
    if not isinstance(words, dict) or not isinstance(words.get("reason"), str):
        return None
    if "manifestSHA256" in words:
        # It claims a manifest that nobody can find: that is a reason for doubt, not for success.
        return JobOutcome(
            "NoManifest", "The collector says it left a manifest; there is none", True
        )
    said = str(words.get("message", ""))[:1024]
    reason = reason_word(words["reason"], "Error")
    return JobOutcome(reason, said, retry=words.get("retry") is not False)
