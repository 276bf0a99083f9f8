"""What can be said of a capture beside the pod: checked before any request is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from forensics_core._internal.arguments import checked_arguments
from forensics_core.models import (
    AfterCapture,
    ArtifactKind,
    Encryption,
    PodCheckpointSpec,
    Retention,
)

_ARGUMENTS = {
    "destination": "to",
    "record_seconds": "record",
    "active_deadline_seconds": "deadline",
    "ttl_seconds_after_finished": "ttl",
}
"""What the resource's fields are called here."""


class CheckpointOptions(TypedDict, total=False):
    """How a pod is captured: arguments of `Cluster.checkpoint` and `Incident.checkpoint`."""

    to: str | None
    """`s3://bucket[/prefix]`, or the operator's default."""
    subpath: str | None
    """The folder there that the bundle lies in."""
    containers: Sequence[str]
    """All unless given."""
    artifacts: Sequence[ArtifactKind | str]
    """All but volumes and memory unless given."""
    reason: str
    pause: bool
    """Hold the containers still meanwhile, for a minute at most."""
    record: int
    """Seconds for which at least it is recorded what the containers do."""
    volumes: Sequence[str]
    """Volumes that are captured with their content though it is secret, or though no others are: by
    name or by path."""
    deleted_budget: int | None
    """Bytes of files that only processes hold, of each container."""
    freeze: bool
    """Hold each process still while its memory is read; True unless given."""
    deadline: int | None
    """Seconds for all of it."""
    ttl: int | None
    """Seconds that the request, not the evidence, lives on."""
    retention: Retention | None
    encryption: Encryption | None
    isolate: bool
    """Cut the pod off the network before the capture, until `Checkpoint.release`."""
    after_capture: AfterCapture | str | None
    """What becomes of the pod: `Keep`, `Delete`, `DeleteEvenIfPartial`."""


def checked_spec(given: Mapping[str, Any]) -> PodCheckpointSpec:
    """Return a spec of what is not None. Raises `UsageError` that names what does not fit."""
    # What was not given is left to the cluster's defaults.
    fields = {field: value for field, value in given.items() if value is not None}
    with checked_arguments(_ARGUMENTS):
        return PodCheckpointSpec.model_validate(fields)


def spec_of(options: CheckpointOptions, **more: Any) -> PodCheckpointSpec:
    """Return the spec that the options of a capture stand for. Raises as `checked_spec` does."""
    fields = {name: field for field, name in _ARGUMENTS.items()}
    # Empty is as good as not given, except for the folder: there it means none.
    said = {
        fields.get(name, name): value
        for name, value in options.items()
        if value or name in {"subpath", "deadline", "ttl", "deleted_budget", "freeze"}
    }
    return checked_spec(said | more)
