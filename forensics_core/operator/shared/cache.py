"""What the watches last said, cut down to what decisions need.

The cluster's own answers to our writes go in too, so that the next decision does not rest on what
was true before them; whatever is older than what is known already is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from forensics_core.api.names import CHECKPOINT_UID_LABEL
from forensics_core.api.podcheckpoint import Phase, PodCheckpoint
from forensics_core.api.urgency import Urgency, WaitingCapture
from forensics_core.kube.objects import Object
from forensics_core.operator.containment.conditions import anything_due
from forensics_core.operator.shared.line import WaitingLine
from forensics_core.operator.shared.slim import slim_job, slim_pod

JOB_NAME_LABEL = "batch.kubernetes.io/job-name"
_PLACES = (Phase.PENDING, Phase.CAPTURING)
"""Phases in which a checkpoint waits for a place on its node, or has one."""


def key_of(namespace: str | None, name: str) -> str:
    """Return the key of an object: `namespace/name`."""
    return f"{namespace or ''}/{name}"


def name_of(checkpoint: PodCheckpoint) -> str:
    """Return `namespace/name`: the checkpoint's key in cache and queue, and its name in logs."""
    return key_of(checkpoint.metadata.namespace, checkpoint.metadata.name)


def fields_of(checkpoint: PodCheckpoint) -> dict[str, str | int]:
    """Return what every line of the log about a checkpoint carries."""
    return {
        "checkpoint_uid": checkpoint.metadata.uid or "",
        "checkpoint": name_of(checkpoint),
        "attempt": checkpoint.status.attempt,
    }


@dataclass(frozen=True, slots=True)
class _Finished:
    """What is kept of a checkpoint with which there is nothing to do any more."""

    uid: str
    version: str
    phase: Phase


class Cache:
    """PodCheckpoints, and the Jobs and pods made for them.

    Of those that have finished next to nothing is kept: there may be many.
    """

    def __init__(self) -> None:
        self._checkpoints: dict[str, PodCheckpoint] = {}
        self._finished: dict[str, _Finished] = {}
        self._by_uid: dict[str, str] = {}
        self._places: dict[tuple[str, Phase], set[str]] = {}
        """The keys of checkpoints that have not finished, by node and phase."""
        self._reserved: dict[str, set[str]] = {}
        """The keys of checkpoints that are about to take a place, by node."""
        self._line = WaitingLine()
        self._phases: Counter[Phase] = Counter()
        self._jobs: dict[str, Object] = {}
        self._collector_pods: dict[str, Object] = {}

    def __len__(self) -> int:
        return len(self._checkpoints) + len(self._finished)

    def checkpoint(self, key: str) -> PodCheckpoint | None:
        """Return a checkpoint by its key, if there is anything left to do with it."""
        return self._checkpoints.get(key)

    def put(self, checkpoint: PodCheckpoint) -> set[str]:
        """Learn of a checkpoint; return the keys that want a look.

        They are its own, and those of checkpoints that wait for the place which it left.
        """
        key = name_of(checkpoint)
        if not _newer(checkpoint, self._version(key)):
            return {key}
        known = self._checkpoints.get(key)
        self._forget(key)
        self._phases[_phase(checkpoint)] += 1
        if _phase(checkpoint) is not Phase.PENDING:
            self._line.forget(checkpoint.metadata.uid or "")
        if _settled(checkpoint):
            self._settle(key, checkpoint)
        else:
            self._checkpoints[key] = checkpoint
            self._by_uid[checkpoint.metadata.uid or ""] = key
            self._places.setdefault(_place(checkpoint), set()).add(key)
        return {key, *self._freed(known, checkpoint)}

    def knows(self, item: Object) -> bool:
        """Whether a checkpoint, as the cluster tells of it, is known in this very version."""
        metadata = item["metadata"]
        known = self._version(key_of(metadata.get("namespace"), metadata["name"]))
        return known == (metadata.get("uid"), metadata["resourceVersion"])

    def _settle(self, key: str, checkpoint: PodCheckpoint) -> None:
        metadata = checkpoint.metadata
        self._finished[key] = _Finished(
            metadata.uid or "", metadata.resource_version or "", _phase(checkpoint)
        )
        # No deletion of them need be waited for: nothing is decided on them any more.
        self._jobs.pop(_child(checkpoint), None)
        self._collector_pods.pop(_child(checkpoint), None)

    def _version(self, key: str) -> tuple[str, str] | None:
        """Return UID and version of what is known, or None."""
        if key in self._finished:
            return self._finished[key].uid, self._finished[key].version
        if key not in self._checkpoints:
            return None
        metadata = self._checkpoints[key].metadata
        return metadata.uid or "", metadata.resource_version or ""

    def drop(self, checkpoint: PodCheckpoint) -> set[str]:
        """Learn that a checkpoint is gone; return the keys that want a look."""
        key = name_of(checkpoint)
        version = self._version(key)
        if version is None or version[0] != checkpoint.metadata.uid:
            return {key}
        known = self._checkpoints.get(key)
        self._forget(key)
        self._line.forget(checkpoint.metadata.uid or "")
        return {key, *self._freed(known, None)}

    def _forget(self, key: str) -> None:
        finished = self._finished.pop(key, None)
        if finished is not None:
            self._phases[finished.phase] -= 1
        known = self._checkpoints.pop(key, None)
        if known is None:
            return
        self._by_uid.pop(known.metadata.uid or "", None)
        self._phases[_phase(known)] -= 1
        there = self._places.get(_place(known), set())
        there.discard(key)
        if not there:
            self._places.pop(_place(known), None)

    def _freed(self, before: PodCheckpoint | None, after: PodCheckpoint | None) -> set[str]:
        """Return the keys of those that wait for the place that a checkpoint has left.

        One that leaves the line without a place makes way for whoever is behind it, too.
        """
        if before is None or not before.status.node or _phase(before) not in _PLACES:
            return set()
        node = before.status.node
        # From the line into the place is no reason: all that was behind it still is.
        kept = {(node, _phase(before)), (node, Phase.CAPTURING)}
        if after is not None and _place(after) in kept:
            return set()
        return self._places.get((node, Phase.PENDING), set())

    def job(self, checkpoint: PodCheckpoint) -> Object | None:
        """Return the Job of the current attempt, if it is this checkpoint's."""
        return _own(self._jobs.get(_child(checkpoint)), checkpoint)

    def job_named(self, checkpoint: PodCheckpoint, name: str) -> Object | None:
        """Return another Job that was made for this checkpoint."""
        return _own(self._jobs.get(key_of(checkpoint.metadata.namespace, name)), checkpoint)

    def collector_pod(self, checkpoint: PodCheckpoint) -> Object | None:
        """Return the current attempt's pod, if it is this checkpoint's."""
        return _own(self._collector_pods.get(_child(checkpoint)), checkpoint)

    def put_job(self, job: Object) -> str | None:
        """Learn of a Job; return the key of its checkpoint."""
        metadata = job["metadata"]
        self._jobs[key_of(metadata["namespace"], metadata["name"])] = slim_job(job)
        return self._owner(job)

    def drop_job(self, job: Object) -> str | None:
        """Learn that a Job is gone; return the key of its checkpoint."""
        metadata = job["metadata"]
        self._jobs.pop(key_of(metadata["namespace"], metadata["name"]), None)
        return self._owner(job)

    def put_collector_pod(self, pod: Object) -> str | None:
        """Learn of a Job's pod; return the key of its checkpoint."""
        self._collector_pods[_job_key(pod)] = slim_pod(pod)
        return self._owner(pod)

    def drop_collector_pod(self, pod: Object) -> str | None:
        """Learn that a Job's pod is gone; return the key of its checkpoint."""
        known = self._collector_pods.get(_job_key(pod))
        if known and known["metadata"]["uid"] == pod["metadata"]["uid"]:
            del self._collector_pods[_job_key(pod)]
        return self._owner(pod)

    def busy(self, checkpoint: PodCheckpoint, node: str) -> int:
        """Count other captures that are under way on `node`."""
        there = self._places.get((node, Phase.CAPTURING), set()) | self._reserved.get(node, set())
        return len(there - {name_of(checkpoint)})

    def line(
        self, checkpoint: PodCheckpoint, node: str, blocked: Collection[str]
    ) -> tuple[WaitingCapture, ...]:
        """Return others that wait for a place on `node`, but for those that are `blocked`.

        Whoever has a place reserved waits no more, though its status does not yet say so.
        """
        there = self._places.get((node, Phase.PENDING), set()) if node else set()
        others = there - {name_of(checkpoint)} - self._reserved.get(node, set())
        return self._line.line(self._checkpoints[key] for key in others if key not in blocked)

    def waiting(self, checkpoint: PodCheckpoint) -> WaitingCapture:
        """Return what is known of a checkpoint that may have to wait."""
        return self._line.waiting(checkpoint)

    def look(self, checkpoint: PodCheckpoint, urgency: Urgency, now: datetime) -> set[str]:
        """Learn how urgent a checkpoint's pod is; return the keys of those who wait behind it."""
        news = self._line.note(checkpoint.metadata.uid or "", urgency, now)
        return self.behind(checkpoint) if news else set()

    def urgency(self, key: str) -> Urgency:
        """Return how soon a checkpoint wants a look: one that is under way may free its pod."""
        checkpoint = self._checkpoints.get(key)
        if checkpoint is None:
            return Urgency.REST
        if _phase(checkpoint) is not Phase.PENDING or checkpoint.metadata.deletion_timestamp:
            return Urgency.DYING
        seen = self._line.waiting(checkpoint).urgency
        return Urgency.REST if seen is None else seen

    def behind(self, checkpoint: PodCheckpoint) -> set[str]:
        """Return the keys of others that wait for a place where this one waits."""
        node = checkpoint.status.node
        there = self._places.get((node, Phase.PENDING), set()) if node else set()
        return there - {name_of(checkpoint)}

    def reserve(self, key: str, node: str) -> None:
        """Count a checkpoint as being captured on `node` though its status does not yet say so."""
        self._reserved.setdefault(node, set()).add(key)

    def release(self, key: str, node: str) -> set[str]:
        """End a reservation; return the keys that wait for the place if it was not taken."""
        held = self._reserved.get(node, set())
        held.discard(key)
        if not held:
            self._reserved.pop(node, None)
        if key in self._places.get((node, Phase.CAPTURING), ()):
            return set()
        return set(self._places.get((node, Phase.PENDING), ()))

    def count(self, phase: Phase) -> int:
        """Count the checkpoints in a phase; those that nobody has looked at are pending."""
        return self._phases[phase]

    def _owner(self, child: Object) -> str | None:
        uid = (child["metadata"].get("labels") or {}).get(CHECKPOINT_UID_LABEL, "")
        return self._by_uid.get(uid)


def _child(checkpoint: PodCheckpoint) -> str:
    return key_of(checkpoint.metadata.namespace, checkpoint.status.job_name)


def _own(child: Object | None, checkpoint: PodCheckpoint) -> Object | None:
    labels = (child or {}).get("metadata", {}).get("labels") or {}
    return child if labels.get(CHECKPOINT_UID_LABEL) == checkpoint.metadata.uid else None


def _job_key(pod: Object) -> str:
    metadata = pod["metadata"]
    return key_of(metadata["namespace"], (metadata.get("labels") or {}).get(JOB_NAME_LABEL, ""))


def _phase(checkpoint: PodCheckpoint) -> Phase:
    return checkpoint.status.phase or Phase.PENDING


def _place(checkpoint: PodCheckpoint) -> tuple[str, Phase]:
    return checkpoint.status.node, _phase(checkpoint)


def _settled(checkpoint: PodCheckpoint) -> bool:
    """Whether nothing is left to do, now or later: a deletion would be another version."""
    lifetime = checkpoint.spec.ttl_seconds_after_finished
    if anything_due(checkpoint) or checkpoint.metadata.deletion_timestamp:
        return False
    return checkpoint.finished and lifetime is None


def _newer(checkpoint: PodCheckpoint, known: tuple[str, str] | None) -> bool:
    """Compare versions; across a deletion they say nothing, and the later word counts."""
    if known is None or checkpoint.metadata.uid != known[0]:
        return True
    try:
        return int(checkpoint.metadata.resource_version or 0) >= int(known[1] or 0)
    except ValueError:
        # Versions are opaque by the letter of the API, though every server counts.
        return True
