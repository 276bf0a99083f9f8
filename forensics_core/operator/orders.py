"""The work order of one attempt, and the Secret that carries it. Pure: data in, data out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from forensics_core._internal import strict_json
from forensics_core.api.names import REQUESTED_BY_ANNOTATION
from forensics_core.api.order import ContextFile, PodRef, Requester, Target, WorkOrder
from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.errors import UsageError
from forensics_core.kube.objects import Object
from forensics_core.operator.jobs import ORDER_FILE, child_labels

STATUS_LISTS = (
    ("initContainers", "initContainerStatuses"),
    ("containers", "containerStatuses"),
    ("ephemeralContainers", "ephemeralContainerStatuses"),
)
"""Where a pod keeps its containers and what became of them."""


def container_names(pod: Object) -> list[str]:
    """Return the names of all containers of a pod: init and sidecar, regular, ephemeral."""
    spec = pod.get("spec", {})
    return [one["name"] for group, _ in STATUS_LISTS for one in spec.get(group) or []]


def targets(pod: Object, wanted: Sequence[str]) -> tuple[Target, ...]:
    """Return the containers to capture that a runtime knows; those never created are left out."""
    status = pod.get("status", {})
    found = [one for _, group in STATUS_LISTS for one in status.get(group) or []]
    return tuple(
        Target(
            name=one["name"],
            container_id=one["containerID"],
            image=one.get("image", ""),
        )
        for one in found
        if one.get("containerID") and (not wanted or one["name"] in wanted)
    )


def never_created(pod: Object, wanted: Sequence[str]) -> list[str]:
    """Return the names of wanted containers that no runtime has made yet."""
    known = {target.name for target in targets(pod, ())}
    return [name for name in container_names(pod) if name not in known and _in(name, wanted)]


def _in(name: str, wanted: Sequence[str]) -> bool:
    return not wanted or name in wanted


def build_order(
    checkpoint: PodCheckpoint,
    pod: Object,
    context: Sequence[ContextFile],
    gaps: Sequence[str],
    destination: str,
    seconds: int,
) -> WorkOrder:
    """Return the order of the current attempt, whose place `status.location` fixes.

    It may take so many `seconds`.
    """
    spec, status = checkpoint.spec, checkpoint.status
    destination = destination.rstrip("/")
    requester = checkpoint.metadata.annotations.get(REQUESTED_BY_ANNOTATION)
    return WorkOrder(
        destination=destination,
        bundle=status.location.removeprefix(destination).strip("/"),
        uid=UUID(checkpoint.metadata.uid),
        attempt=status.attempt,
        pod=PodRef(
            namespace=checkpoint.target_namespace, name=spec.pod, uid=pod["metadata"]["uid"]
        ),
        targets=targets(pod, spec.containers),
        artifacts=spec.artifacts,
        compression=spec.compression,
        pause=spec.pause,
        requester=Requester(name=requester, attested=True) if requester else None,
        reason=spec.reason,
        incident=spec.incident,
        retention=spec.retention,
        encryption=spec.encryption,
        active_deadline_seconds=seconds,
        context=tuple(context),
        not_captured=tuple(gaps),
    )


def build_secret(checkpoint: PodCheckpoint, order: WorkOrder) -> dict[str, Any]:
    """Return the Secret that carries the order; it bears the Job's name."""
    document = order.model_dump_json(by_alias=True).encode()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": checkpoint.status.job_name,
            "namespace": checkpoint.metadata.namespace,
            "labels": child_labels(checkpoint),
            "ownerReferences": [checkpoint.owner_reference()],
        },
        "immutable": True,
        "type": "forensics.orkaproj.io/work-order",
        "data": {ORDER_FILE: base64.b64encode(document).decode()},
    }


def read_order(secret: Object) -> tuple[WorkOrder, str]:
    """Return the order in a Secret, and the SHA-256 of its bytes. Raises `UsageError`."""
    try:
        document = base64.b64decode(secret["data"][ORDER_FILE], validate=True)
        said = strict_json.loads(document, limit=len(document))
        return WorkOrder.model_validate(said), hashlib.sha256(document).hexdigest()
    except (KeyError, ValueError) as error:
        name = secret.get("metadata", {}).get("name")
        raise UsageError(
            f"The Secret '{name}' holds no work order", hint="Do not edit the operator's Secrets"
        ) from error
