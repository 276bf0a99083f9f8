"""The spec of a PodCheckpoint, made of the options that were typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from forensics_core.cli.options import INCIDENT_ID
from forensics_core.errors import UsageError

if TYPE_CHECKING:
    from forensics_core.api.podcheckpoint import PodCheckpointSpec

AFTER_CAPTURE = {
    "keep": "Keep",
    "delete": "Delete",
    "delete-even-if-partial": "DeleteEvenIfPartial",
}
"""What `--after-capture` takes, and what the resource calls it."""
_TAKEN = {
    "pod": "the name of a pod",
    "namespace": "the name of a namespace",
    "containers": "the name of a container",
    "destination": "a bucket and a prefix, such as s3://cases/2026",
    "subpath": "a folder, such as forensics/2026",
    "incident": INCIDENT_ID,
}
"""What options take whose values have to look like something."""
_OPTIONS = {
    "pod": "POD",
    "namespace": "--namespace",
    "destination": "--to",
    "subpath": "--subpath",
    "containers": "--container",
    "artifacts": "--artifact",
    "reason": "--reason",
    "incident": "--incident",
    "retention": "--retention-days",
    "encryption": "--kms-key-id",
    "recordSeconds": "--record",
    "volumes": "--volume",
    "deletedBudget": "--deleted-budget",
    "freeze": "--no-freeze",
    "activeDeadlineSeconds": "--deadline",
    "ttlSecondsAfterFinished": "--ttl",
}
"""What the fields of the spec are called on the command line."""


def pod_name(text: str) -> str:
    """Return the pod's name, which kubectl also takes as `pod/NAME`."""
    kind, _, name = text.rpartition("/")
    # Another kind stays as it was typed, so that the error names all of it.
    return name if kind in {"", "pod", "pods", "po"} else text


def build_spec(pod: str, namespace: str, given: Mapping[str, Any]) -> PodCheckpointSpec:
    """Return the spec with what was given, and nothing else: the rest is the cluster's to say.

    `given` has the options by their names in Python; what is None or empty was not given. Raises
    `UsageError` that names the first option which does not fit.
    """
    from forensics_core._internal.arguments import checked_arguments
    from forensics_core.api.podcheckpoint import PodCheckpointSpec

    fields = {
        "pod": pod_name(pod),
        "namespace": namespace,
        "destination": given.get("to"),
        "subpath": given.get("subpath"),
        "containers": given.get("containers"),
        "artifacts": given.get("artifacts"),
        "compression": given.get("compression"),
        "pause": given.get("pause") or None,
        "reason": given.get("reason"),
        "incident": given.get("incident"),
        "retention": _retention(given),
        "isolate": given.get("isolate") or None,
        "afterCapture": AFTER_CAPTURE.get(given.get("after_capture") or ""),
        "encryption": {"kmsKeyId": given["kms_key_id"]} if given.get("kms_key_id") else None,
        "recordSeconds": given.get("record"),
        "volumes": given.get("volumes"),
        "deletedBudget": given.get("deleted_budget"),
        "freeze": False if given.get("no_freeze") else None,
        "activeDeadlineSeconds": given.get("deadline"),
        "ttlSecondsAfterFinished": given.get("ttl"),
    }
    # An empty subpath means none, and is not the default.
    wanted = {
        name: value
        for name, value in fields.items()
        if value not in (None, (), "") or (name == "subpath" and value == "")
    }
    hint = "See `forensics checkpoint --help` for what it takes"
    with checked_arguments(_OPTIONS, takes=_TAKEN, hint=hint):
        return PodCheckpointSpec.model_validate(wanted)


def _retention(given: Mapping[str, Any]) -> dict[str, Any] | None:
    named = {
        "days": given.get("retention_days"),
        "mode": given.get("retention_mode"),
        "legalHold": given.get("legal_hold") or None,
    }
    said = {name: value for name, value in named.items() if value is not None}
    if said.keys() == {"mode"}:
        raise UsageError(
            "--retention-mode needs to know for how long", hint="Add --retention-days N"
        )
    return said or None
