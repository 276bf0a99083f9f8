"""Many pods of one incident: what became of asking for each, and how all of them stand.

summary = IncidentSummary.of("INC-7", checkpoints)
print(summary.headline)  # 12 of 30 pods may be killed
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from forensics_core.api.conditions import ConditionType, find_condition, is_true
from forensics_core.api.findings import FindingSeverity, FindingStatus
from forensics_core.api.names import EXPECTED_POD_UID_ANNOTATION
from forensics_core.api.podcheckpoint import Phase, PodCheckpoint
from forensics_core.api.selection import SelectedPod
from forensics_core.errors import ForensicsError

STEM_LIMIT = 48
"""Characters of the pod's name that the name of a request begins with."""
_SEVERITIES = tuple(FindingSeverity)
_EXPLAINED_BY = {
    Phase.PENDING: ConditionType.CAPTURED,
    Phase.CAPTURING: ConditionType.CAPTURED,
    Phase.SEALING: ConditionType.CAPTURED,
    Phase.COMPLETE: ConditionType.PARTIAL,
    Phase.FAILED: ConditionType.FAILED,
}
"""The condition that says what is the matter in a phase."""
_ORDINARY = frozenset({"Capturing", "ManifestFound"})
"""Reasons by which nothing is."""


class RequestState(StrEnum):
    """What became of asking for one pod."""

    CREATED = "Created"
    EXISTING = "Existing"
    """Its capture was asked for before, for the same incident, and has not failed."""
    REFUSED = "Refused"


@dataclass(frozen=True, slots=True)
class PodRequest:
    """What became of asking for the capture of one pod."""

    pod: SelectedPod
    state: RequestState
    checkpoint: PodCheckpoint | None = None
    """The one that was made, or that was there; None where it was refused."""
    error: ForensicsError | None = None
    """Why it was refused."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        name = self.checkpoint.metadata.name if self.checkpoint else ""
        error = {"error": str(self.error)} if self.error else {}
        return {"pod": self.pod.to_dict(), "state": str(self.state), "checkpoint": name} | error


def pod_uid_of(checkpoint: PodCheckpoint) -> str:
    """Return the UID of the pod that a checkpoint is for; empty while nobody knows it."""
    expected = checkpoint.metadata.annotations.get(EXPECTED_POD_UID_ANNOTATION, "")
    return checkpoint.status.pod_uid or expected


def is_for(checkpoint: PodCheckpoint, pod: SelectedPod) -> bool:
    """Whether a checkpoint captures, or has captured, this very pod: it need not be asked again."""
    named = (checkpoint.target_namespace, checkpoint.spec.pod) == (pod.namespace, pod.name)
    if not named or checkpoint.failed or checkpoint.metadata.deletion_timestamp:
        return False
    uid = pod_uid_of(checkpoint)
    return uid == pod.uid if uid else not checkpoint.finished


def request_name(incident: str, pod: SelectedPod, number: int) -> str:
    """Return the name of the `number`th request for a pod: the same for whoever asks.

    So two people who ask at the same moment make one, and a request whose answer was lost can be
    made again.
    """
    digest = hashlib.sha256(f"{incident}/{pod.uid}/{number}".encode()).hexdigest()[:8]
    return f"{pod.name[:STEM_LIMIT].rstrip('.-')}-{digest}"


@dataclass(frozen=True, slots=True)
class PodSummary:
    """One pod of an incident, and the checkpoint that speaks for it."""

    checkpoint: PodCheckpoint
    may_be_killed: bool
    """Whether its evidence is stored and no other capture of it is under way."""

    @property
    def name(self) -> str:
        """The pod, as `namespace/name`."""
        return f"{self.checkpoint.target_namespace}/{self.checkpoint.spec.pod}"

    @property
    def phase(self) -> Phase:
        """How far it is."""
        return self.checkpoint.status.phase or Phase.PENDING

    @property
    def partial(self) -> bool:
        """Whether something that was asked for is missing."""
        return is_true(self.checkpoint.status.conditions, ConditionType.PARTIAL)

    @property
    def reason(self) -> str:
        """Why it failed, is partial or waits, as `Reason: message`; empty if it goes well."""
        told = find_condition(self.checkpoint.status.conditions, _EXPLAINED_BY[self.phase])
        if told is None or told.reason in _ORDINARY:
            return ""
        return f"{told.reason}: {told.message}" if told.message else told.reason

    @classmethod
    def of(cls, checkpoints: Sequence[PodCheckpoint]) -> PodSummary:
        """Summarise one pod's checkpoints: what was captured counts, not what failed before."""
        by_age = sorted(checkpoints, key=_by_age)
        going = [one for one in by_age if not (one.captured or one.finished)]
        stored = [one for one in by_age if one.captured and not one.failed]
        speaks = (going or stored or by_age)[-1]
        return cls(speaks, may_be_killed=bool(stored) and not going)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        status = self.checkpoint.status
        return {
            "pod": self.name,
            "checkpoint": self.checkpoint.metadata.name,
            "phase": str(self.phase),
            "mayBeKilled": self.may_be_killed,
            "partial": self.partial,
            "reason": self.reason,
            "node": status.node,
            "location": self.checkpoint.evidence_location,
            "findings": status.findings.total if status.findings else None,
        }


@dataclass(frozen=True)
class IncidentSummary:
    """How all pods of an incident stand. What findings say is the containers' word."""

    incident: str
    pods: tuple[PodSummary, ...]
    """By namespace and name."""

    @classmethod
    def of(cls, incident: str, checkpoints: Iterable[PodCheckpoint]) -> IncidentSummary:
        """Summarise an incident's checkpoints: a pod that was captured twice counts once."""
        by_pod: dict[tuple[str, str, str], list[PodCheckpoint]] = {}
        for one in checkpoints:
            key = (one.target_namespace, one.spec.pod, pod_uid_of(one))
            by_pod.setdefault(key, []).append(one)
        return cls(incident, tuple(PodSummary.of(by_pod[key]) for key in sorted(by_pod)))

    @cached_property
    def may_be_killed(self) -> tuple[str, ...]:
        """The pods whose evidence is stored, as `namespace/name`."""
        return tuple(pod.name for pod in self.pods if pod.may_be_killed)

    @cached_property
    def failed(self) -> tuple[PodSummary, ...]:
        """The pods of which there is no evidence, and will be none unless it is asked for again."""
        return tuple(pod for pod in self.pods if pod.phase is Phase.FAILED)

    @cached_property
    def partial(self) -> tuple[PodSummary, ...]:
        """The pods of whose evidence something is missing."""
        return tuple(pod for pod in self.pods if pod.partial)

    @cached_property
    def phases(self) -> Mapping[Phase, int]:
        """How many pods are in each phase, in the order of a capture."""
        counts = Counter(pod.phase for pod in self.pods)
        return {phase: counts[phase] for phase in Phase if counts[phase]}

    @property
    def finished(self) -> bool:
        """Whether nothing will change any more."""
        return all(pod.checkpoint.finished for pod in self.pods)

    @property
    def size(self) -> int:
        """Bytes of all evidence, as stored."""
        return sum(pod.checkpoint.status.bytes for pod in self.pods if pod.may_be_killed)

    @property
    def headline(self) -> str:
        """The one line to read: `12 of 30 pods may be killed`."""
        noun = "pod" if len(self.pods) == 1 else "pods"
        return f"{len(self.may_be_killed)} of {len(self.pods)} {noun} may be killed"

    @cached_property
    def severities(self) -> Mapping[FindingSeverity, int]:
        """How many findings there are of each severity, in all pods."""
        counts: Counter[FindingSeverity] = Counter()
        for pod in self.pods:
            found = pod.checkpoint.status.findings
            if found is not None:
                several = found.by_severity
                counts.update(
                    {
                        FindingSeverity.HIGH: several.high,
                        FindingSeverity.MEDIUM: several.medium,
                        FindingSeverity.LOW: several.low,
                    }
                )
        return {severity: counts[severity] for severity in _SEVERITIES if counts[severity]}

    def first_findings(self, most: int = 5) -> list[tuple[tuple[str, ...], FindingStatus]]:
        """Return the findings that want a look first, each with the pods that it was seen in.

        What one rule says in the same words of many pods is one row.
        """
        rows: dict[tuple[str, str, str], tuple[list[str], FindingStatus]] = {}
        for pod in self.pods:
            found = pod.checkpoint.status.findings
            for one in found.first if found else ():
                key = (one.rule, one.container, one.message)
                names, _ = rows.setdefault(key, ([], one))
                if pod.name not in names:
                    names.append(pod.name)
        ranked = sorted(
            rows.values(), key=lambda row: (_SEVERITIES.index(row[1].severity), -len(row[0]))
        )
        return [(tuple(names), finding) for names, finding in ranked[:most]]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, for `-o json`."""
        return {
            "incident": self.incident,
            "pods": len(self.pods),
            "phases": {str(phase): count for phase, count in self.phases.items()},
            "mayBeKilled": list(self.may_be_killed),
            "finished": self.finished,
            "bytes": self.size,
            "findings": {
                "bySeverity": {str(each): count for each, count in self.severities.items()},
                "first": [
                    finding.model_dump(mode="json") | {"pods": list(names)}
                    for names, finding in self.first_findings()
                ],
            },
            "checkpoints": [pod.to_dict() for pod in self.pods],
        }


def _by_age(checkpoint: PodCheckpoint) -> tuple[str, str]:
    return str(checkpoint.metadata.creation_timestamp or ""), checkpoint.metadata.name
