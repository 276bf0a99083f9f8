"""The work order of one attempt, and the Secret that carries it. Pure: data in, data out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from forensics_core._internal import strict_json
from forensics_core.api.names import (
    ATTEMPT_LABEL,
    CHECKPOINT_UID_LABEL,
    INCIDENT_LABEL,
    REQUESTED_BY_ANNOTATION,
    label_value,
)
from forensics_core.api.order import ContextFile, KubeletCheckpoint, PodRef, Requester, WorkOrder
from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.errors import UsageError
from forensics_core.kube.objects import Object
from forensics_core.operator.attempt.pods import LABELS, targets

ORDER_FILE = "order.json"
"""The order's name in its Secret."""
CREDENTIALS_FILE = "credentials"
"""The name of credentials for this attempt alone, beside the order; and of a file of them in a
Secret of the administrator's, which the kubelet renews while a Job runs."""


def child_labels(checkpoint: PodCheckpoint) -> dict[str, str]:
    """Return the labels of everything made for the current attempt."""
    labels = LABELS | {
        CHECKPOINT_UID_LABEL: checkpoint.metadata.uid or "",
        ATTEMPT_LABEL: str(checkpoint.status.attempt),
    }
    if checkpoint.spec.incident:
        labels[INCIDENT_LABEL] = label_value(checkpoint.spec.incident)
    return labels


def build_order(
    checkpoint: PodCheckpoint,
    pod: Object,
    context: Sequence[ContextFile],
    gaps: Sequence[str],
    destination: str,
    seconds: int,
    kubelet: Sequence[KubeletCheckpoint] = (),
) -> WorkOrder:
    """Return the order of the current attempt, whose place `status.location` fixes.

    It may take so many `seconds`. `kubelet`: what came of asking the kubelet for checkpoints.
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
        deleted_budget=spec.deleted_budget,
        volumes=spec.volumes,
        freeze=spec.freeze,
        record=spec.record_seconds,
        requester=Requester(name=requester, attested=True) if requester else None,
        reason=spec.reason,
        incident=spec.incident,
        retention=spec.retention,
        encryption=spec.encryption,
        active_deadline_seconds=seconds,
        context=tuple(context),
        kubelet_checkpoints=tuple(kubelet),
        not_captured=tuple(gaps),
    )


def build_secret(
    checkpoint: PodCheckpoint, order: WorkOrder, credentials: str = ""
) -> dict[str, Any]:
    """Return the Secret that carries the order; it bears the Job's name.

    `credentials` are a file with those that were made for this attempt alone, if they were.
    """
    files = {ORDER_FILE: order.model_dump_json(by_alias=True).encode()}
    if credentials:
        files[CREDENTIALS_FILE] = credentials.encode()
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
        "data": {name: base64.b64encode(data).decode() for name, data in files.items()},
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
