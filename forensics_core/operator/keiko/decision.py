"""What to do about a PodCheckpoint of the group `forensics.keikoproj.io`. Pure, level-triggered.

One of theirs is one of ours. Each owns the other, so that whichever is deleted takes the other with
it; all else is about telling in theirs what has become of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from forensics_core._internal.arguments import checked_arguments
from forensics_core.api.conditions import ConditionType, set_condition
from forensics_core.api.names import (
    GROUP,
    KIND,
    NAME_LIMIT,
    PLURAL,
    REQUESTED_BY_ANNOTATION,
    VERSION,
)
from forensics_core.api.podcheckpoint import PodCheckpoint, PodCheckpointSpec
from forensics_core.api.resource import ObjectMeta
from forensics_core.errors import ForensicsError
from forensics_core.kube.objects import Object
from forensics_core.kube.resources import Resource

KEIKO = Resource("forensics.keikoproj.io", VERSION, PLURAL, KIND)
"""The group that the first tool of this kind has used since 2019."""
KEIKO_LABEL = f"{GROUP}/keiko"
"""On one of ours: that it was made for one of theirs."""
_SPEC = ("pod", "namespace", "destination", "subpath")
"""All that theirs can say. In ours it means the same."""
_MIRRORED = ("conditions", "startTime", "completionTime", "active", "succeeded", "failed")
_OF_CONDITIONS = (
    *("type", "status", "reason", "message"),
    *("lastProbeTime", "lastTransitionTime"),
)


@dataclass(frozen=True, slots=True)
class CreateOurs:
    """Ask for the capture."""

    checkpoint: PodCheckpoint


@dataclass(frozen=True, slots=True)
class LinkTheirs:
    """Have ours own theirs, too: it goes when ours goes."""

    patch: Object


@dataclass(frozen=True, slots=True)
class MirrorStatus:
    """Tell in theirs what has become of ours."""

    status: Object


MirrorAction = CreateOurs | LinkTheirs | MirrorStatus | None


def decide_mirror(theirs: Object | None, ours: PodCheckpoint | None) -> MirrorAction:
    """Return the next action; None: nothing until one of them changes.

    Raises `UsageError` if theirs says what no capture can be asked for with.
    """
    if theirs is None or theirs["metadata"].get("deletionTimestamp"):
        return None
    if ours is None:
        # One that had ours lost it: the garbage collector is on its way to it.
        over = _is_linked(theirs) or (theirs.get("status") or {}).get("completionTime")
        return None if over else CreateOurs(ours_for(theirs))
    if not _is_linked(theirs):
        return LinkTheirs(_link(theirs, ours))
    status = mirrored(ours)
    return MirrorStatus(status) if status and status != _status(theirs) else None


def our_name(theirs: Object) -> str:
    """Return the name of the one that is made for theirs: it follows from name and UID."""
    metadata = theirs["metadata"]
    tail = f"-{str(metadata['uid'])[:8]}"
    return str(metadata["name"])[: NAME_LIMIT - len(tail)].rstrip(".-") + tail


def ours_for(theirs: Object) -> PodCheckpoint:
    """Return what is to be made for theirs. Raises `UsageError` for what cannot be asked for."""
    metadata, said = theirs["metadata"], theirs.get("spec") or {}
    spec = {name: said[name] for name in _SPEC if said.get(name) or (name == "subpath" in said)}
    annotations = metadata.get("annotations") or {}
    # Who asked was decided when theirs was admitted; the operator only passes it on.
    told = {REQUESTED_BY_ANNOTATION: annotations.get(REQUESTED_BY_ANNOTATION, "")}
    with checked_arguments({}):
        return PodCheckpoint(
            metadata=ObjectMeta(
                name=our_name(theirs),
                namespace=metadata["namespace"],
                labels={KEIKO_LABEL: "true"},
                annotations={name: value for name, value in told.items() if value},
            ),
            spec=PodCheckpointSpec.model_validate(spec),
        )


def owned_by(theirs: Object) -> Object:
    """Return the reference by which theirs owns ours."""
    metadata = theirs["metadata"]
    return {
        "apiVersion": KEIKO.api_version,
        "kind": KEIKO.kind,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def mirrored(ours: PodCheckpoint) -> Object:
    """Return what theirs tells of ours: the fields that it has always had."""
    status = ours.status.to_dict() if ours.status.phase else {}
    told: Object = {name: status[name] for name in _MIRRORED if name in status}
    if "conditions" in told:
        told["conditions"] = [
            {name: one[name] for name in _OF_CONDITIONS if name in one}
            for one in told["conditions"]
        ]
    return told


def refused(error: ForensicsError, now: datetime) -> Object:
    """Return the status of one of theirs that no capture can be asked for with."""
    conditions = set_condition(
        (), ConditionType.FAILED, True, reason=error.reason, message=str(error), now=now
    )
    at = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    told = [one.model_dump(mode="json", by_alias=True, exclude_none=True) for one in conditions]
    return {"conditions": told, "startTime": at, "completionTime": at, "failed": 1}


def _status(theirs: Object) -> Object:
    status: Mapping[str, Any] = theirs.get("status") or {}
    return {name: status[name] for name in _MIRRORED if name in status}


def _is_linked(theirs: Object) -> bool:
    """Whether ours owns theirs; it is the only one of this kind that does."""
    owners = theirs["metadata"].get("ownerReferences") or ()
    return any(str(one.get("apiVersion", "")).startswith(f"{GROUP}/") for one in owners)


def _link(theirs: Object, ours: PodCheckpoint) -> Object:
    # It blocks nothing: two that wait for each other's end would never end.
    reference = ours.owner_reference() | {"controller": False, "blockOwnerDeletion": False}
    metadata = theirs["metadata"]
    owners = [*(metadata.get("ownerReferences") or ()), reference]
    version = metadata["resourceVersion"]
    return {"metadata": {"ownerReferences": owners, "resourceVersion": version}}
