"""The work order: what one attempt captures, and where to.

The operator writes one for each Job; `forensics collect` makes one for itself. It is data only, so
that the collector needs nothing else, above all no access to the cluster::

    order = WorkOrder(destination="s3://cases", bundle="forensics/web-1", uid=uuid4())
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, FailFast, Field
from pydantic.alias_generators import to_camel

from forensics_core._internal.arguments import PublicModel


class OrderModel(BaseModel):
    """A frozen model whose JSON is spelled in camelCase and refuses unknown fields."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )


class Model(OrderModel):
    """One of which a schema is made, with what the source says of its fields (`api.schema`)."""


class ArtifactKind(StrEnum):
    """The kinds of evidence that can be asked for, in no particular order."""

    CONTEXT = "context"
    INSPECT = "inspect"
    DIFF = "diff"
    FILESYSTEM = "filesystem"
    LOGS = "logs"
    PROCESSES = "processes"
    NETWORK = "network"
    VOLUMES = "volumes"
    MEMORY = "memory"


DEFAULT_ARTIFACTS: tuple[ArtifactKind, ...] = tuple(
    kind for kind in ArtifactKind if kind not in {ArtifactKind.VOLUMES, ArtifactKind.MEMORY}
)
"""What is captured unless the request says otherwise."""


DELETED_BUDGET = 1024**3
"""Bytes of deleted files that are captured of a container unless the request says otherwise."""


class Compression(StrEnum):
    """How large artifacts are stored."""

    AUTO = "auto"
    """With zstd, at whichever level the slower of processor and network calls for."""
    ZSTD = "zstd"
    NONE = "none"

    @property
    def compresses(self) -> bool:
        """Whether zstd frames are stored, at whatever level."""
        return self is not Compression.NONE


class RetentionMode(StrEnum):
    """S3 Object Lock's two modes."""

    GOVERNANCE = "Governance"
    COMPLIANCE = "Compliance"


class Retention(PublicModel, Model):
    """S3 Object Lock: until when no version of the evidence can be removed."""

    mode: RetentionMode = RetentionMode.GOVERNANCE
    """Governance: the privileged may lift it. Compliance: nobody can."""
    days: Annotated[int, Field(ge=1, le=36500)] | None = None
    """Days from the capture on; none for a legal hold alone."""
    legal_hold: bool = False
    """Lock every version until somebody lifts the hold."""


class Encryption(PublicModel, Model):
    """Server-side encryption with a key of the KMS."""

    kms_key_id: Annotated[
        str, Field(min_length=1, max_length=2048, pattern="^[A-Za-z0-9:/_.@=+-]+$")
    ]
    """The key's id, alias or ARN."""


ARCHIVE = (
    r"^((/[A-Za-z0-9_@+-][A-Za-z0-9._@+-]*)+/checkpoints/checkpoint-[A-Za-z0-9._:+-]{1,255}\.tar)?$"
)
"""The path of an archive as kubelets name them: of a path that may lead elsewhere, nothing is read
and nothing removed."""


class ContainerTarget(OrderModel):
    """One container to capture, as its runtime knows it."""

    name: str
    """The folder's name in the bundle: the container's name in the pod."""
    container_id: str
    """With its scheme, as in pod status: `docker://4f2a...`."""
    image: str = ""


class PodRef(OrderModel):
    """The pod that a capture is of."""

    namespace: str
    name: str
    uid: str = ""


class Requester(OrderModel):
    """Who asked. `attested` is true where the cluster's admission vouched for the name.

    It rests on the admission policy, which holds the annotation to its author's own name.
    """

    name: str
    attested: bool = False


class ContextFile(OrderModel):
    """A file of the context, uploaded by the operator before the Job began."""

    name: str
    """Relative to the bundle: `context/pod.yaml`."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]
    """Bytes."""
    version_id: str | None = None
    etag: str | None = None
    """As the destination said when it was stored."""
    captured_at: datetime


class KubeletCheckpoint(OrderModel):
    """What came of asking the kubelet for a checkpoint of one container."""

    container: str
    archive: Annotated[str, Field(max_length=1024, pattern=ARCHIVE)] = ""
    """Where on the node the archive is; nothing where there is none."""
    reason: str = ""
    """Why there is none, in the manifest's word."""
    message: str = ""


class WorkOrder(OrderModel):
    """Everything that the collector needs to know for one attempt."""

    version: Literal[1] = 1
    destination: str
    """`s3://bucket[/prefix]` or `file:///folder`."""
    bundle: str
    """The bundle's path beneath the destination, subpath included, without slashes around it."""
    uid: UUID
    """Of the PodCheckpoint, or a random one for a capture by hand."""
    attempt: Annotated[int, Field(ge=1)] = 1
    pod: PodRef | None = None
    """None for a capture by hand."""
    targets: Annotated[tuple[ContainerTarget, ...], FailFast()] = ()
    artifacts: Annotated[tuple[ArtifactKind, ...], FailFast()] = DEFAULT_ARTIFACTS
    compression: Compression = Compression.ZSTD
    pause: bool = False
    deleted_budget: Annotated[int, Field(ge=0)] = DELETED_BUDGET
    """Bytes of files without a name that are captured of each container, the smallest first."""
    volumes: Annotated[tuple[str, ...], FailFast()] = ()
    """Volumes whose content is captured though it is secret, or though no others were asked for:
    by name, or by path in the container."""
    freeze: bool = True
    """Hold each process still, for two seconds at most, while its memory is read."""
    record: Annotated[int, Field(ge=0, le=86400)] = 0
    """Seconds for which at least it is recorded what the containers do; 0 is not at all."""
    layer_seconds: Annotated[float, Field(ge=0)] | None = None
    """For how long the image's layers are compared with what the image promises, of all containers
    together; 0 is not at all, None a part of the time that the capture took."""
    requester: Requester | None = None
    reason: str = ""
    incident: str = ""
    retention: Retention | None = None
    encryption: Encryption | None = None
    active_deadline_seconds: Annotated[int, Field(ge=1)] = 3600
    context: Annotated[tuple[ContextFile, ...], FailFast()] = ()
    kubelet_checkpoints: Annotated[tuple[KubeletCheckpoint, ...], FailFast()] = ()
    """Of the containers of which the kubelet was asked for one: see `kubeletCheckpoint` of the
    operator's settings."""
    not_captured: Annotated[tuple[str, ...], FailFast()] = ()
    """What the operator already knows that it could not gather, one line each."""
