"""`manifest.json`: an in-toto Statement whose predicate says how the evidence was captured.

The subjects are every artifact's name and SHA-256, as stored. The predicate, of type
`PREDICATE_TYPE`, holds everything else: who asked, when, from which node, by which tool, one row an
artifact, and what was *not* captured, each with its reason.

Source: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from forensics_core._internal import strict_json
from forensics_core._internal.arguments import PublicModel
from forensics_core.api.order import ArtifactKind, Compression, PodRef, Requester, WorkOrder
from forensics_core.bundle.layout import MANIFEST
from forensics_core.errors import VerificationError

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://forensics.orkaproj.io/capture/v1"
_HINT = "Fetch it again; if it stays so, treat the bundle as tampered with"

MAX_CONTAINERS = 4096
"""Containers of one bundle: readers look for each among all artifacts."""
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
ByteCount = Annotated[int, Field(ge=0)]
VersionId = Annotated[
    Annotated[str, Field(max_length=1024, pattern=r"^[!-~]+$")] | None,
    # No version at all, for every reader alike; as a parameter it would mean the current one.
    BeforeValidator(lambda version: None if version == "" else version),
]
"""A version in S3, which goes into requests."""
Level = Annotated[str, Field(pattern=r"^-?[0-9]{1,3}$")]
"""One of zstd's levels, in decimal."""
# Every list of rows has `FailFast`: an error takes a kilobyte, and a hostile list is all errors.


class Record(BaseModel):
    """A frozen model in camelCase that tolerates fields of later releases."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True
    )


class Flag(StrEnum):
    """What an analyst must know before relying on an artifact."""

    TRUNCATED = "truncated"
    """It was cut: by a cap, a deadline or a cancellation."""
    CHANGED_WHILE_READ = "changedWhileRead"
    """The source moved while it was being read; `remarks` names the members."""
    REDUCED_FIDELITY = "reducedFidelity"
    """Read in a way that loses details; `method` says which way."""
    RENDERING_DIFFERS = "renderingDiffers"
    """A log that the runtime's own tools show otherwise than it is; `remarks` say how."""


class Remark(Record):
    """One thing worth knowing about one member of an artifact."""

    path: str
    message: str


def _stored_compression(value: Compression) -> Compression:
    if value is Compression.AUTO:
        raise ValueError("'auto' is no way to store an artifact")
    return value


class Artifact(PublicModel, Record):
    """One object of the bundle: what it is of, and what it weighed on its way."""

    name: str
    kind: ArtifactKind
    container: str | None = None
    media_type: str = "application/octet-stream"
    method: str = ""
    """How it was read: `engine-api`, `engine-export`, `tree`."""
    compression: Annotated[Compression, AfterValidator(_stored_compression)] = Compression.NONE
    """As it is stored: `zstd` or `none`, and never what was asked for, `auto`."""
    frames_by_level: Annotated[dict[Level, ByteCount], Field(max_length=64)] = Field(
        default_factory=dict
    )
    """How many of its zstd frames were made at which of zstd's levels."""
    sha256: Sha256
    """Of the bytes as stored."""
    size: ByteCount
    """Bytes as stored."""
    original_sha256: Sha256
    """Of the bytes before compression."""
    original_size: ByteCount
    """Bytes before compression."""
    started_at: datetime
    finished_at: datetime
    seconds: Annotated[float, Field(ge=0)]
    """By the monotonic clock."""
    version_id: VersionId = None
    crc64nvme: Annotated[
        str | None,
        Field(
            # The second is how it was spelled before the first release.
            validation_alias=AliasChoices("crc64nvme", "crc64Nvme"),
            serialization_alias="crc64nvme",
        ),
    ] = None
    flags: Annotated[tuple[Flag, ...], FailFast()] = ()
    remarks: Annotated[tuple[Remark, ...], FailFast()] = ()
    """The first of them; `remarks_total` counts all."""
    remarks_total: ByteCount = 0


class NotCaptured(PublicModel, Record):
    """Something that was asked for, or that a reader would expect, and is not here."""

    what: str
    """An artifact's kind, or something smaller: `socket /run/app.sock`."""
    container: str | None = None
    reason: str
    """One CamelCase word: `NotSupported`, `NotPermitted`, `Gone`, `Deadline`."""
    message: str
    requested: bool = True
    """Whether it was part of what was asked for: then the capture is a partial one."""
    path: str | None = None
    """Where a reader would look for it in the container: a mount point, a deleted file's name."""
    pid: int | None = None
    """The process that holds it, as the node numbers it."""
    size: ByteCount | None = None
    """Its bytes, where they are known."""
    sha256: Sha256 | None = None
    """Of those bytes, where they were read but not kept."""
    type: str | None = None
    """The file system's type, of a mount: `tmpfs`."""
    source: str | None = None
    """What is mounted, of a mount: a device, or a directory of the node."""


class Container(PublicModel, Record):
    """One captured container."""

    name: str
    container_id: str
    image: str = ""
    image_id: str = ""
    runtime: str = ""
    state: str = ""
    """As the runtime called it when the capture began: `running`, `paused`, `exited`, `created`."""
    result: Literal["Captured", "Partial", "Failed", "Skipped"] = "Captured"
    reason: str = ""


class OrderFacts(Record):
    """The order that this bundle fulfils: which one it is, and what it says."""

    uid: UUID
    attempt: int
    sha256: Sha256
    """Of the work order's JSON, as the collector read it."""
    destination: str
    bundle: str
    pod: PodRef | None = None
    """None for a capture by hand."""
    requester: Requester | None = None
    """None: not attested."""
    reason: str = ""
    incident: str = ""
    requested: Annotated[tuple[ArtifactKind, ...], FailFast()] = ()
    """The kinds of evidence that were asked for."""

    @classmethod
    def of(cls, order: WorkOrder, sha256: str) -> OrderFacts:
        """Return what a manifest tells of an order whose JSON has this SHA-256."""
        return cls(
            uid=order.uid,
            attempt=order.attempt,
            sha256=sha256,
            destination=order.destination,
            bundle=order.bundle,
            pod=order.pod,
            requester=order.requester,
            reason=order.reason,
            incident=order.incident,
            requested=order.artifacts,
        )


_ONCE_BESIDE = ("pod", "requester", "reason", "incident", "requested")
"""What manifests had beside the order before the first release, and have in it now."""


class Tool(Record):
    """The software that made the capture."""

    name: str = "kube-forensics"
    version: str
    python: str = ""


class Node(Record):
    """The machine that the capture was made on."""

    hostname: str = ""
    kernel: str = ""
    machine: str = ""
    boot_id: str = ""
    runtime: str = ""
    """The container runtime and its version: `docker 28.2.2`."""


class Clocks(Record):
    """What several clocks said at about the same moment, for skew."""

    node: datetime
    destination: datetime | None = None
    """The storage server's `Date`, with whole seconds."""
    monotonic_offset: float = 0.0
    """Seconds between the start of the capture and this reading."""


class StoreTraits(Record):
    """What the store that the bundle went to was able to do."""

    checksum: str = ""
    """How it checked what arrived: `crc64nvme`, `sha256`, `md5`, `none`; empty for a folder."""
    conditional_writes: bool = True
    """Whether it refused to replace what was there: else unique names have to do."""


class Capture(PublicModel, Record):
    """The predicate."""

    order: OrderFacts
    tool: Tool
    node: Node
    clocks: Annotated[tuple[Clocks, ...], FailFast()] = ()
    store: StoreTraits | None = None
    """None: not known, as in bundles of older releases."""
    started_at: datetime
    finished_at: datetime
    containers: Annotated[tuple[Container, ...], FailFast(), Field(max_length=MAX_CONTAINERS)] = ()
    artifacts: Annotated[tuple[Artifact, ...], FailFast()] = ()
    not_captured: Annotated[tuple[NotCaptured, ...], FailFast()] = ()

    @model_validator(mode="before")
    @classmethod
    def _lift(cls, data: Any) -> Any:
        """Read what older manifests have beside the order as if it were in it."""
        beside = [name for name in _ONCE_BESIDE if isinstance(data, dict) and name in data]
        if not beside or not isinstance(data.get("order"), dict | OrderFacts):
            return data
        order = dict(data["order"])
        for name in beside:
            # Readers that take the one and readers that take the other would show other evidence.
            if order.setdefault(name, data[name]) != data[name]:
                raise ValueError(f"'{name}' contradicts 'order.{name}'")
        return {**data, "order": order}

    @property
    def partial(self) -> bool:
        """Whether something that was asked for is missing."""
        return any(gap.requested for gap in self.not_captured)


class DigestSet(Record):
    """A subject's digest set."""

    sha256: Sha256


class Subject(Record):
    """One object that the statement is about."""

    name: str
    digest: DigestSet


class Statement(PublicModel, Record):
    """The whole of `manifest.json`."""

    type: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")] = (
        "https://in-toto.io/Statement/v1"
    )
    subject: Annotated[tuple[Subject, ...], FailFast()]
    predicate_type: Literal["https://forensics.orkaproj.io/capture/v1"] = (
        "https://forensics.orkaproj.io/capture/v1"
    )
    predicate: Capture

    def to_bytes(self) -> bytes:
        """Return the manifest as it is stored: UTF-8 JSON, indented, ending in a newline."""
        text = self.model_dump_json(by_alias=True, indent=2)
        return text.encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Statement:
        """Parse a manifest. Raises `VerificationError` if it is none."""
        try:
            # Whoever read it had a limit already.
            return cls.model_validate(strict_json.loads(data, limit=len(data)))
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the document"
            raise VerificationError(
                f"{MANIFEST} is not a manifest of kube-forensics: {where}: {first['msg']}",
                hint=_HINT,
            ) from error
        except ValueError as error:
            raise VerificationError(
                f"{MANIFEST} is not a manifest of kube-forensics: {error}", hint=_HINT
            ) from error
