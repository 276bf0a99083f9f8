"""What the cluster says of an attempt's end. Pure: data in, data out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forensics_core._internal import strict_json
from forensics_core.kube.objects import Object
from forensics_core.operator.jobs import CONTAINER
from forensics_core.operator.statuses import reason_word

_LAST_WORDS = 16 * 1024
"""Bytes of a termination message: a kubelet takes 4 KiB, a hostile one what it likes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt's Job ended, as far as the cluster knows: a hint, never the result."""

    reason: str
    """One CamelCase word."""
    message: str
    retry: bool
    """Whether another attempt may fare better."""


NEVER_STARTS = {"ErrImageNeverPull", "InvalidImageName"}
"""What the kubelet says of an image that every attempt would fail with in the same way."""


def job_finished(job: Object) -> bool:
    """Return whether the Job is over, well or not."""
    conditions = job.get("status", {}).get("conditions") or []
    return any(
        condition.get("type") in {"Complete", "Failed"} and condition.get("status") == "True"
        for condition in conditions
    )


def terminated(worker: Object) -> dict[str, Any] | None:
    """Return the state of the collector in its pod, if it has ended."""
    for status in worker.get("status", {}).get("containerStatuses") or []:
        ended = status.get("state", {}).get("terminated")
        if status.get("name") == CONTAINER and ended:
            return dict(ended)
    return None


def started(worker: Object) -> bool:
    """Return whether the collector runs in its pod, or has run."""
    states = [
        status.get("state", {})
        for status in worker.get("status", {}).get("containerStatuses") or []
        if status.get("name") == CONTAINER
    ]
    return any("running" in state or "terminated" in state for state in states)


def hopeless(worker: Object) -> bool:
    """Return whether the collector cannot start, however long it is waited for."""
    return any(waiting.get("reason") == "InvalidImageName" for waiting in _waiting(worker))


def _waiting(worker: Object) -> list[Mapping[str, Any]]:
    statuses = worker.get("status", {}).get("containerStatuses") or []
    found = (status.get("state", {}).get("waiting") for status in statuses)
    return [waiting for waiting in found if waiting]


def delay(worker: Object, node: str) -> Outcome:
    """Return why the collector has not started in its pod, which is to be on `node`."""
    for waiting in _waiting(worker):
        return _delay(waiting)
    for condition in worker.get("status", {}).get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _delay(condition)
    return Outcome("NotStarted", f"The node '{node}' has not started the collector", retry=True)


def delay_of_job(events: Sequence[Object]) -> Outcome:
    """Return why a Job has made no pod, from the events about it."""
    warnings = [event for event in events if event.get("type") == "Warning"]
    if warnings:
        return _delay(max(warnings, key=lambda one: str(one.get("lastTimestamp") or "")))
    return Outcome("NoWorker", "The Job has not made a pod", retry=True)


def _delay(said: Mapping[str, Any]) -> Outcome:
    """Read the reason and message of a state, a condition or an event.

    The kubelet alternates between two words for an image that does not come.
    """
    reason = reason_word(str(said.get("reason") or ""), "NotStarted")
    message = str(said.get("message") or "").rstrip(".")[:1024]
    if reason == "ErrImagePull":
        reason = "ImagePullBackOff"
    message = message or f"The collector's container waits: {reason}"
    return Outcome(reason, message, retry=reason not in NEVER_STARTS)


def outcome(job: Object | None, worker: Object | None) -> Outcome:
    """Return why an attempt left no manifest, from whatever the cluster still remembers."""
    ended = terminated(worker) if worker else None
    hint = _hint(str(ended.get("message") or "")) if ended else None
    if hint:
        return hint
    pod_reason = str((worker or {}).get("status", {}).get("reason") or "")
    if pod_reason:
        said = str((worker or {}).get("status", {}).get("message") or "")
        said = said or f"The collector's pod ended: {pod_reason}"
        return Outcome(reason_word(pod_reason, "PodFailed"), said, retry=True)
    if ended:
        return _of_container(ended)
    for condition in (job or {}).get("status", {}).get("conditions") or []:
        if condition.get("type") == "Failed" and condition.get("status") == "True":
            message = str(condition.get("message") or "The Job failed")
            reason = reason_word(str(condition.get("reason") or ""), "JobFailed")
            return Outcome(reason, message, retry=True)
    return Outcome("WorkerLost", "The collector's pod is gone without a word", retry=True)


def _of_container(ended: Mapping[str, Any]) -> Outcome:
    reason, code = str(ended.get("reason") or "Error"), int(ended.get("exitCode", 1))
    if reason == "Completed":
        return Outcome("NoManifest", "The collector ended well but left no manifest", retry=True)
    message = f"The collector ended with code {code} ({reason})"
    return Outcome(reason_word(reason, "Error"), message, retry=True)


def _hint(message: str) -> Outcome | None:
    """Read the collector's own last words; a node can write anything there."""
    try:
        words = strict_json.loads(message.encode(), limit=_LAST_WORDS)
    except ValueError:
        return None
    if not isinstance(words, dict) or not isinstance(words.get("reason"), str):
        return None
    if "manifestSHA256" in words:
        # It claims a manifest that nobody can find: that is a reason for doubt, not for success.
        return Outcome("NoManifest", "The collector says it left a manifest; there is none", True)
    said = str(words.get("message", ""))[:1024]
    reason = reason_word(words["reason"], "Error")
    return Outcome(reason, said, retry=words.get("retry") is not False)
