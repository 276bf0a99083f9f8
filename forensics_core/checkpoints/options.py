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
    """How each of many pods is captured: as the arguments of `Cluster.checkpoint` say."""

    to: str | None
    subpath: str | None
    containers: Sequence[str]
    artifacts: Sequence[ArtifactKind | str]
    reason: str
    pause: bool
    record: int
    volumes: Sequence[str]
    deleted_budget: int | None
    freeze: bool
    deadline: int | None
    ttl: int | None
    retention: Retention | None
    encryption: Encryption | None
    isolate: bool
    after_capture: AfterCapture | str | None


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
