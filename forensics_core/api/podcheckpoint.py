"""PodCheckpoint: the request for a pod's evidence, and how it is going.

Whoever writes one is held to the fields there are; objects read from a cluster may hold fields of
later releases, which `PodCheckpoint.parse` leaves out::

    spec = PodCheckpointSpec(pod="web-0", namespace="prod", destination="s3://cases")
    checkpoint = PodCheckpoint.parse(json.loads(answer))
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from forensics_core._internal.arguments import PublicModel
from forensics_core.api.conditions import (
    Condition,
    ConditionType,
    Time,
    clip,
    find_condition,
    is_true,
)
from forensics_core.api.findings import FindingsStatus
from forensics_core.api.names import GROUP, KIND, PLURAL
from forensics_core.api.order import (
    DEFAULT_ARTIFACTS,
    DELETED_BUDGET,
    ArtifactKind,
    Compression,
    Encryption,
    Model,
    Retention,
)
from forensics_core.api.resource import CustomResource
from forensics_core.api.steps import Bytes, Count, StepTiming
from forensics_core.errors import CheckpointFailed

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SEGMENT = "[A-Za-z0-9!_.*'()=-]+"
_TEXT = r"^[^\x00-\x08\x0b-\x1f\x7f]*$"
"""Text with spaces, tabs and line ends, and no other control characters. Only the API server holds
new objects to it: those that are there already stay readable."""

PodName = Annotated[str, Field(min_length=1, max_length=253, pattern=rf"^{_LABEL}(\.{_LABEL})*$")]
"""A DNS subdomain."""
DnsLabel = Annotated[str, Field(min_length=1, max_length=63, pattern=f"^{_LABEL}$")]
Destination = Annotated[
    str,
    Field(
        min_length=6,
        max_length=320,
        pattern=rf"^s3://[A-Za-z0-9][A-Za-z0-9._-]{{1,253}}[A-Za-z0-9](/{_SEGMENT})*/?$",
    ),
]
"""A bucket as any store may name it, and a prefix. AWS's own names are narrower."""
Subpath = Annotated[str, Field(max_length=200, pattern=rf"^({_SEGMENT}(/{_SEGMENT})*)?$")]
LabelValue = Annotated[
    str, Field(max_length=63, pattern="^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
]
VolumeName = Annotated[
    str, Field(min_length=1, max_length=1024, json_schema_extra={"pattern": r"^[^\x00-\x1f\x7f]+$"})
]
Short = Annotated[str, BeforeValidator(lambda text: clip(text, 253)), Field(max_length=253)]
"""Text that is cut rather than refused: a status must never fail by its own bounds."""
Long = Annotated[str, BeforeValidator(lambda text: clip(text, 2048)), Field(max_length=2048)]


class AfterCapture(StrEnum):
    """What becomes of the pod once its evidence is safe."""

    KEEP = "Keep"
    DELETE = "Delete"
    DELETE_EVEN_IF_PARTIAL = "DeleteEvenIfPartial"


class PodCheckpointSpec(PublicModel, Model):
    """What to capture and where to. It cannot be changed, but `cancel` and `release` can be set."""

    pod: PodName
    """The name of the pod to capture."""
    namespace: DnsLabel | None = None
    """The pod's namespace. Default: the PodCheckpoint's own."""
    destination: Destination | None = None
    """Where the evidence goes: s3://bucket[/prefix]. Default: the operator's, if it has one."""
    subpath: Subpath = "forensics"
    """A folder below the destination; empty for none."""
    containers: Annotated[tuple[DnsLabel, ...], Field(max_length=256)] = ()
    """Names of the containers to capture. Default: all, be they regular, init, sidecar or
    ephemeral, running or exited."""
    artifacts: Annotated[tuple[ArtifactKind, ...], Field(min_length=1, max_length=16)] = (
        DEFAULT_ARTIFACTS
    )
    """The kinds of evidence to capture. Default: all but volumes and memory."""
    compression: Compression = Compression.AUTO
    """How large artifacts are stored."""
    pause: bool = False
    """Freeze the containers while they are being captured."""
    record_seconds: Annotated[int, Field(ge=0, le=86400)] = 0
    """Seconds for which it is recorded, at least, what the containers do. Default: not at all."""
    volumes: Annotated[tuple[VolumeName, ...], Field(max_length=64)] = ()
    """Volumes, by name or by path in the container, whose content is captured though it is secret,
    or though no other volumes are. It takes 'filesystem' or 'volumes' among the artifacts."""
    deleted_budget: Annotated[int, Field(ge=0, le=2**40)] = DELETED_BUDGET
    """Bytes that are captured, of each container, of files that only processes still hold."""
    freeze: bool = True
    """With memory: hold each process still, for two seconds at most, while it is read."""
    reason: Annotated[str, Field(max_length=1024, json_schema_extra={"pattern": _TEXT})] = ""
    """Why the capture is wanted; goes into the manifest."""
    incident: LabelValue = ""
    """The incident's id; also put on the label forensics.orkaproj.io/incident."""
    retention: Retention | None = None
    """S3 Object Lock for the evidence. Default: none."""
    encryption: Encryption | None = None
    """Server-side encryption of the evidence. Default: the bucket's own."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=604800)] = 3600
    """Seconds that the whole capture may take, all attempts together; what there is by then is
    kept."""
    ttl_seconds_after_finished: Count | None = None
    """Seconds after which a finished PodCheckpoint and its children are deleted. The evidence
    stays. Default: never."""
    cancel: bool = False
    """Stop, and keep what there is. Once true it stays true."""
    isolate: bool = False
    """Cut the pod off the network before the capture begins, until it is released."""
    after_capture: AfterCapture = AfterCapture.KEEP
    """What becomes of the pod once it is captured: Keep; Delete, unless evidence is missing; or
    DeleteEvenIfPartial."""
    release: bool = False
    """Lift the isolation. Once true it stays true."""


class Phase(StrEnum):
    """The one-word summary."""

    PENDING = "Pending"
    CAPTURING = "Capturing"
    SEALING = "Sealing"
    COMPLETE = "Complete"
    FAILED = "Failed"

    @property
    def terminal(self) -> bool:
        """Whether nothing will change any more."""
        return self in {Phase.COMPLETE, Phase.FAILED}


class ContainerState(StrEnum):
    """How the capture of one container ended."""

    CAPTURED = "Captured"
    PARTIAL = "Partial"
    FAILED = "Failed"
    SKIPPED = "Skipped"


class ContainerStatus(Model):
    """One container of the pod."""

    name: DnsLabel
    """The container's name in the pod."""
    container_id: Annotated[Short, Field(alias="containerID")] = ""
    """As the runtime has it, with its scheme: containerd://4f2a..."""
    runtime: Short = ""
    """The container runtime and its version."""
    image: Long = ""
    """The image that it was started from."""
    state: ContainerState
    """Captured, Partial, Failed or Skipped."""
    reason: Long = ""
    """Why it is not Captured."""


class Progress(PublicModel, Model):
    """How far the current attempt has come."""

    artifacts_done: Count = 0
    """Artifacts stored."""
    artifacts_total: Count = 0
    """Artifacts known so far."""
    bytes_read: Bytes = 0
    """Bytes read from the containers."""
    bytes_stored: Bytes = 0
    """Bytes stored at the destination, after compression."""
    current: Short = ""
    """What is being captured now."""
    summary: Annotated[str, BeforeValidator(lambda text: clip(text, 63)), Field(max_length=63)] = ""
    """All of this in a few characters."""


class PodCheckpointStatus(PublicModel, Model):
    """How the capture is going, and where its evidence is. Written by the operator alone."""

    phase: Phase | None = None
    """Pending, Capturing, Sealing, Complete or Failed; the last two are final."""
    start_time: Time | None = None
    """When the operator first acted on the request."""
    deadline: Time | None = None
    """When the capture has to be over, whichever attempt is under way."""
    completion_time: Time | None = None
    """When the last phase was reached."""
    active: Count = 0
    """Jobs that are running."""
    succeeded: Count = 0
    """Attempts that captured the pod."""
    failed: Count = 0
    """Attempts that did not."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16)] = ()
    """What is true of this checkpoint. Captured: the pod may go."""
    observed_generation: Bytes | None = None
    """The metadata.generation that this status was concluded from."""
    node: Short = ""
    """The node that the pod runs on."""
    pod_uid: Annotated[Short, Field(alias="podUID")] = ""
    """The pod's UID, pinned when the request was first seen."""
    job_name: Annotated[str, Field(max_length=63)] = ""
    """The current attempt's Job."""
    attempt: Count = 0
    """The current attempt, counted from 1."""
    progress: Progress | None = None
    """How far the current attempt has come."""
    location: Long = ""
    """The bundle's URL, ending in a slash."""
    manifest_sha256: Annotated[
        str, Field(alias="manifestSHA256", max_length=64, pattern="^([0-9a-f]{64})?$")
    ] = ""
    """SHA-256 of manifest.json."""
    sealed: bool = False
    """Whether the operator has signed the manifest."""
    artifacts: Count = 0
    """Artifacts in the bundle."""
    bytes: Bytes = 0
    """Bytes of all artifacts, as stored."""
    size: Short = ""
    """The same, for people."""
    containers: Annotated[tuple[ContainerStatus, ...], Field(max_length=256)] = ()
    """What became of each container."""
    timings: Annotated[tuple[StepTiming, ...], Field(max_length=16)] = ()
    """How long each step took from the request until the pod may be killed."""
    findings: FindingsStatus | None = None
    """What the operator's rules found in the evidence; 'forensics report' looks at all of it."""

    def to_dict(self) -> dict[str, Any]:
        """Return the status as JSON data, without what is unknown."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class PodCheckpoint(CustomResource):
    """A request to capture a running pod as verifiable evidence."""

    explained_as: ClassVar = f"{PLURAL}.{GROUP}"

    kind: Literal["PodCheckpoint"] = KIND
    spec: PodCheckpointSpec
    status: PodCheckpointStatus = Field(default_factory=PodCheckpointStatus)

    def to_dict(self) -> dict[str, Any]:
        """Return the object as JSON data, with only those fields of the spec that were set."""
        spec = self.spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
        metadata = self.metadata.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        status = self.status.to_dict() if "status" in self.model_fields_set else {}
        body = {"apiVersion": self.api_version, "kind": self.kind, "metadata": metadata}
        return body | {"spec": spec} | ({"status": status} if status else {})

    @property
    def finished(self) -> bool:
        """Whether the phase is a terminal one."""
        return self.status.phase is not None and self.status.phase.terminal

    @property
    def captured(self) -> bool:
        """Whether the evidence is stored and the pod may go."""
        return is_true(self.status.conditions, ConditionType.CAPTURED)

    @property
    def evidence_location(self) -> str:
        """Where the evidence is; empty while there is none, and if the checkpoint failed.

        `status.location` is set as soon as an attempt begins: what lies there may be nothing, or
        what did not stand the comparison.
        """
        return self.status.location if self.captured and not self.failed else ""

    @property
    def failed(self) -> bool:
        """Whether the checkpoint was given up, for good."""
        return self.status.phase is Phase.FAILED

    def raise_for_failure(self) -> None:
        """Raise `CheckpointFailed`, with the reason and what to do, if it was given up."""
        if not self.failed:
            return
        why = find_condition(self.status.conditions, ConditionType.FAILED)
        said = f"{why.reason}: {why.message}" if why else "it does not say why"
        name = self.metadata.name
        raise CheckpointFailed(
            f"The checkpoint '{name}' failed. {said}",
            hint=f"'kubectl describe pcp {name}' shows what was tried; rely on nothing it stored",
            reason=why.reason if why else "",
        )

    @property
    def target_namespace(self) -> str:
        """The namespace of the pod."""
        return self.spec.namespace or self.metadata.namespace or "default"

    def owner_reference(self) -> dict[str, Any]:
        """Return what makes an object a child of this one: `metadata.ownerReferences[0]`."""
        return {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "name": self.metadata.name,
            "uid": self.metadata.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
