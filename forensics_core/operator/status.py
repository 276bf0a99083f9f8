"""What the status becomes with each action. Pure: status in, status out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from forensics_core._internal.units import human_size
from forensics_core.api.conditions import (
    Condition,
    ConditionType,
    find_condition,
    set_condition,
)
from forensics_core.api.names import child_name
from forensics_core.api.podcheckpoint import (
    ContainerState,
    ContainerStatus,
    Phase,
    PodCheckpoint,
    PodCheckpointStatus,
    Progress,
)
from forensics_core.bundle.layout import bundle_name, is_of_attempt
from forensics_core.kube.objects import Object
from forensics_core.operator.attempt.pods import never_created, reason_word
from forensics_core.operator.evidence.manifest import (
    INTERRUPTED,
    MAX_CONTAINERS,
    BundleFacts,
    container_statuses,
)

CAPTURING = "Capturing"
"""The reason why the pod may not be killed while all goes well."""
NOT_SEALED = "NotSealed"
"""The reason of evidence that is stored, and that nobody vouches for."""
DO_NOT_KILL = "Do not kill the pod: its evidence cannot be vouched for."


def set_waiting(
    checkpoint: PodCheckpoint,
    pod: Object,
    reason: str,
    message: str,
    now: datetime,
    *,
    node: str = "",
    location: str = "",
) -> PodCheckpointStatus:
    """Return the status of a request that has to wait, and why; `node` for a place there.

    The pod's UID is pinned from now on, so that no other pod of that name is captured in its place;
    and so is the `location` of the attempt, where its context is stored meanwhile.
    """
    status = checkpoint.status
    return _with(
        checkpoint,
        phase=Phase.PENDING,
        node=node,
        pod_uid=pod["metadata"]["uid"],
        active=0,
        start_time=status.start_time or now,
        location=location or status.location,
        conditions=_set(checkpoint, ConditionType.CAPTURED, False, reason, message, now),
    )


def set_stepped_back(
    checkpoint: PodCheckpoint, reason: str, message: str, now: datetime
) -> PodCheckpointStatus:
    """Return the status of an attempt that gives its place up before anything of it was made.

    Others of the node have their turn meanwhile; the attempt keeps its number and its location.
    """
    attempt = checkpoint.status.attempt - 1
    return _with(
        checkpoint,
        phase=Phase.PENDING,
        node="",
        active=0,
        attempt=attempt,
        failed=max(attempt - 1, 0),
        job_name="",
        progress=None,
        conditions=_set(checkpoint, ConditionType.CAPTURED, False, reason, message, now),
    )


def waiting_since(checkpoint: PodCheckpoint, reason: str, now: datetime) -> datetime:
    """Return since when a request has been waiting for just this."""
    told = find_condition(checkpoint.status.conditions, ConditionType.CAPTURED)
    if told is None or told.reason != reason:
        return now
    return told.last_probe_time or now


def set_capturing(
    checkpoint: PodCheckpoint, pod: Object, destination: str, attempt: int, why: str, now: datetime
) -> PodCheckpointStatus:
    """Return the status with an attempt begun: everything that its children derive from."""
    status, metadata = checkpoint.status, checkpoint.metadata
    uid = metadata.uid or ""
    message = f"Attempt {attempt} begins." + (f" {why}" if why else "")
    return _with(
        checkpoint,
        phase=Phase.CAPTURING,
        start_time=status.start_time or now,
        deadline=status.deadline
        or now + timedelta(seconds=checkpoint.spec.active_deadline_seconds),
        node=pod["spec"]["nodeName"],
        pod_uid=pod["metadata"]["uid"],
        attempt=attempt,
        failed=attempt - 1,
        active=1,
        job_name=child_name(metadata.name, uid, attempt),
        location=location_of(checkpoint, destination, attempt, now),
        progress=Progress(summary="starting"),
        containers=skipped(pod, checkpoint.spec.containers)[:MAX_CONTAINERS],
        conditions=_set(checkpoint, ConditionType.CAPTURED, False, CAPTURING, message, now),
    )


def set_relocated(
    checkpoint: PodCheckpoint, destination: str, now: datetime
) -> PodCheckpointStatus:
    """Return the status with another location for the same attempt: somebody was at the old one."""
    there = checkpoint.status
    attempt = there.attempt if there.phase is Phase.CAPTURING else there.attempt + 1
    cleared = checkpoint.model_copy(update={"status": there.model_copy(update={"location": ""})})
    return _with(checkpoint, location=location_of(cleared, destination, attempt, now))


def location_of(checkpoint: PodCheckpoint, destination: str, attempt: int, now: datetime) -> str:
    """Return where an attempt's bundle lies; it stays where it was fixed while it waited."""
    if is_of_attempt(checkpoint.status.location, attempt):
        return checkpoint.status.location
    folder = bundle_name(
        now,
        checkpoint.target_namespace,
        checkpoint.spec.pod,
        UUID(checkpoint.metadata.uid),
        attempt,
    )
    parts = [destination.rstrip("/"), checkpoint.spec.subpath.strip("/"), folder]
    return "/".join(part for part in parts if part) + "/"


def seconds_left(checkpoint: PodCheckpoint, now: datetime) -> int:
    """Return how long the current attempt may take: what those before it have left of the whole."""
    status = checkpoint.status
    if status.attempt <= 1 or status.deadline is None:
        return checkpoint.spec.active_deadline_seconds
    return max(1, int((status.deadline - now).total_seconds()))


def at_attempt(checkpoint: PodCheckpoint, attempt: int, location: str) -> PodCheckpoint:
    """Return the checkpoint as it was at an earlier attempt."""
    metadata = checkpoint.metadata
    status = checkpoint.status.model_copy(
        update={
            "attempt": attempt,
            "job_name": child_name(metadata.name, metadata.uid or "", attempt),
            "location": location,
        }
    )
    return checkpoint.model_copy(update={"status": status})


def set_progress(
    checkpoint: PodCheckpoint, progress: Progress, now: datetime
) -> PodCheckpointStatus:
    """Return the status with what the collector last said of its progress."""
    conditions = checkpoint.status.conditions
    if is_delayed(checkpoint):
        message = f"Attempt {checkpoint.status.attempt} is under way."
        conditions = _set(checkpoint, ConditionType.CAPTURED, False, CAPTURING, message, now)
    return _with(checkpoint, progress=progress, conditions=conditions)


def set_delayed(
    checkpoint: PodCheckpoint, reason: str, message: str, now: datetime
) -> PodCheckpointStatus:
    """Return the status with why the current attempt's collector has not started."""
    told = find_condition(checkpoint.status.conditions, ConditionType.CAPTURED)
    if told is not None and told.reason == reason:
        return checkpoint.status
    message = f"The collector has not started: {message}."
    progress = checkpoint.status.progress or Progress()
    return _with(
        checkpoint,
        progress=progress.model_copy(update={"summary": reason}),
        conditions=_set(checkpoint, ConditionType.CAPTURED, False, reason, message, now),
    )


def is_delayed(checkpoint: PodCheckpoint) -> bool:
    """Whether it was told that the current attempt's collector does not start."""
    told = find_condition(checkpoint.status.conditions, ConditionType.CAPTURED)
    return told is not None and told.reason != CAPTURING


def set_captured(
    checkpoint: PodCheckpoint, evidence: BundleFacts, now: datetime
) -> PodCheckpointStatus:
    """Return the status once a manifest is found and compared: the pod may be killed.

    Raises `ValueError` if the manifest, which a node wrote, has something that no status can hold.
    """
    message = f"{evidence.artifacts} artifacts are stored. The pod may be killed."
    status = _with(
        checkpoint,
        phase=Phase.SEALING,
        active=0,
        succeeded=1,
        artifacts=evidence.artifacts,
        bytes=evidence.bytes_stored,
        size=human_size(evidence.bytes_stored),
        manifest_sha256=evidence.manifest_sha256,
        containers=container_statuses(evidence, checkpoint.status.containers),
        progress=_all_done(evidence),
        conditions=_set(checkpoint, ConditionType.CAPTURED, True, "ManifestFound", message, now),
    )
    return PodCheckpointStatus.model_validate(status.to_dict())


def is_of(checkpoint: PodCheckpoint, evidence: BundleFacts) -> bool:
    """Whether a manifest is the one that was found, and says that it is of the current attempt."""
    status = checkpoint.status
    return (
        evidence.manifest_sha256 == status.manifest_sha256
        and evidence.uid == checkpoint.metadata.uid
        and evidence.attempt == status.attempt
        and evidence.location == status.location
    )


def _all_done(evidence: BundleFacts) -> Progress:
    # Not by the constructor: the numbers are a node's word, and no argument of ours.
    return Progress.model_validate(
        {
            "artifacts_done": evidence.artifacts,
            "artifacts_total": evidence.artifacts,
            "bytes_read": evidence.bytes_read,
            "bytes_stored": evidence.bytes_stored,
            "summary": "captured",
        }
    )


def skipped(pod: Object, wanted: Sequence[str]) -> tuple[ContainerStatus, ...]:
    """Return the containers that were asked for and that no runtime has made, with the reason."""
    return tuple(
        ContainerStatus(name=name, state=ContainerState.SKIPPED, reason="It was never created.")
        for name in never_created(pod, wanted)
    )


def set_complete(
    checkpoint: PodCheckpoint, evidence: BundleFacts, sealed: bool, now: datetime
) -> PodCheckpointStatus:
    """Return the final status of a checkpoint that has its evidence."""
    message = "The bundle is sealed." if sealed else "No signing key is set: it is not sealed."
    conditions = _set(
        checkpoint, ConditionType.COMPLETE, True, "Sealed" if sealed else NOT_SEALED, message, now
    )
    if evidence.gaps:
        conditions = set_condition(
            conditions,
            ConditionType.PARTIAL,
            True,
            reason=_partial_reason(checkpoint, evidence.gap_reason),
            message=_listed(evidence),
            now=now,
            observed_generation=checkpoint.metadata.generation,
        )
    progress = checkpoint.status.progress or Progress()
    return _with(
        checkpoint,
        phase=Phase.COMPLETE,
        completion_time=now,
        sealed=sealed,
        conditions=conditions,
        progress=progress.model_copy(
            update={"summary": "partial" if evidence.gaps else "complete", "current": ""}
        ),
    )


def _listed(evidence: BundleFacts) -> str:
    """Return the first gaps in words, and how many more there are."""
    more = evidence.gaps - len(evidence.gap_lines)
    left = f"; and {more} more" if more else ""
    return f"Not captured: {'; '.join(evidence.gap_lines)}{left}"


def _partial_reason(checkpoint: PodCheckpoint, reason: str) -> str:
    """Return why something is missing: a collector that is told to end does not know why."""
    if reason == INTERRUPTED and checkpoint.spec.cancel:
        return "Cancelled"
    return reason_word(reason, "NotCaptured")


def set_failed(
    checkpoint: PodCheckpoint, reason: str, message: str, now: datetime
) -> PodCheckpointStatus:
    """Return the final status of a checkpoint that is given up.

    Where it was said that the pod may be killed, that is taken back.
    """
    status = checkpoint.status
    progress = status.progress
    if checkpoint.captured or reason == NOT_SEALED:
        message = f"{DO_NOT_KILL} {message}"
        taken_back = _set(checkpoint, ConditionType.CAPTURED, False, NOT_SEALED, message, now)
        held = status.model_copy(update={"conditions": taken_back})
        checkpoint = checkpoint.model_copy(update={"status": held})
    conditions = _set(checkpoint, ConditionType.FAILED, True, reason, message, now)
    return _with(
        checkpoint,
        phase=Phase.FAILED,
        start_time=status.start_time or now,
        completion_time=now,
        active=0,
        succeeded=0,
        failed=status.attempt,
        conditions=conditions,
        progress=progress and progress.model_copy(update={"summary": "failed", "current": ""}),
    )


def _set(
    checkpoint: PodCheckpoint, kind: str, status: bool, reason: str, message: str, now: datetime
) -> tuple[Condition, ...]:
    return set_condition(
        checkpoint.status.conditions,
        kind,
        status,
        reason=reason,
        message=message,
        now=now,
        observed_generation=checkpoint.metadata.generation,
    )


def _with(checkpoint: PodCheckpoint, **changes: object) -> PodCheckpointStatus:
    changes["observed_generation"] = checkpoint.metadata.generation
    return checkpoint.status.model_copy(update=changes)
