"""The data that the other public modules take and return; each is immutable::

    from forensics_core.models import Evidence

    evidence = Evidence("file:///cases/42/", "9f86d081...", partial=True)
    assert not evidence.sealed

Times are aware datetimes in UTC and sizes are bytes, unless a field says otherwise. Names, paths
and messages that come out of a bundle are hostile: escape them where they are shown, with `ascii`.
"""

from __future__ import annotations

from dataclasses import dataclass

from forensics_core.api.incident import IncidentSummary, PodRequest, PodSummary, RequestState
from forensics_core.api.order import ArtifactKind, Compression, Encryption, Retention, RetentionMode
from forensics_core.api.podcheckpoint import (
    AfterCapture,
    Phase,
    PodCheckpoint,
    PodCheckpointSpec,
    PodCheckpointStatus,
    Progress,
)
from forensics_core.api.selection import SelectedPod, Selection
from forensics_core.api.urgency import Urgency
from forensics_core.bundle.fetch import Fetched
from forensics_core.bundle.identity import EvidenceIdentity
from forensics_core.bundle.manifest import Artifact, Capture, Container, NotCaptured, Statement
from forensics_core.bundle.verification import Problem, ProblemKind, SealState, Verification
from forensics_core.pipeline.meter import Meter
from forensics_core.readers.changes import Change
from forensics_core.storage.s3.client import S3Access
from forensics_core.tarindex.row import Row

__all__ = [
    "AfterCapture",
    "Artifact",
    "ArtifactKind",
    "Capture",
    "Change",
    "Compression",
    "Container",
    "Encryption",
    "Evidence",
    "EvidenceIdentity",
    "Fetched",
    "IncidentSummary",
    "Meter",
    "NotCaptured",
    "Phase",
    "PodCheckpoint",
    "PodCheckpointSpec",
    "PodCheckpointStatus",
    "PodRequest",
    "PodSummary",
    "Problem",
    "ProblemKind",
    "Progress",
    "RequestState",
    "Retention",
    "RetentionMode",
    "Row",
    "S3Access",
    "SealState",
    "SelectedPod",
    "Selection",
    "Statement",
    "Urgency",
    "Verification",
]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A capture that came to its end: where the bundle is, and what it is worth."""

    location: str
    """The bundle's URL, ending in `/`: what `open_bundle` and `verify` take."""
    manifest_sha256: str
    """SHA-256 of its `manifest.json`, in hexadecimal: it names the bundle for good."""
    partial: bool = False
    """Whether something that was asked for is missing; the bundle says what, and why."""
    sealed: bool = False
    """Whether the operator has signed the manifest."""
    artifacts: int = 0
    """Artifacts in the bundle."""
    size: int = 0
    """Bytes of all artifacts, as stored."""
