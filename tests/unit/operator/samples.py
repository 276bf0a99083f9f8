"""Objects as the cluster returns them, for the pure decisions."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from forensics_core.api.names import CHECKPOINT_UID_LABEL, FINALIZER
from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.bundle.manifest import Capture, Container, Node, OrderFacts, Statement, Tool
from forensics_core.bundle.writer import FinishedBundle
from forensics_core.operator.settings import Settings
from forensics_core.storage.objects import StoredObject

NOW = datetime(2026, 8, 1, 10, 11, 12, tzinfo=UTC)
UID = "5df8120f-4366-40b4-be47-20a1c48277c4"
POD_UID = "0b1c6a52-43b5-4a3c-9f0a-1d2e3f405162"
JOB = "checkpoint-1-5df8120f-1"
Document = dict[str, Any]


def checkpoint(
    phase: str | None = None,
    *,
    spec: Document | None = None,
    status: Document | None = None,
    metadata: Document | None = None,
) -> PodCheckpoint:
    """Return a checkpoint of `default/web-0` in a phase; with one it has begun."""
    begun = {
        "phase": phase,
        "startTime": NOW.isoformat(),
        "node": "node1",
        "podUID": POD_UID,
        "attempt": 1,
        "jobName": JOB,
        "location": "s3://cases/forensics/20260801T101112Z_default_web-0_5df8120f-1/",
    }
    body = {
        "metadata": {
            "name": "checkpoint-1",
            "namespace": "forensics-system",
            "uid": UID,
            "resourceVersion": "7",
            "generation": 1,
            "finalizers": [FINALIZER],
        }
        | (metadata or {}),
        "spec": {"pod": "web-0", "namespace": "default"} | (spec or {}),
        "status": (begun if phase else {}) | (status or {}),
    }
    return PodCheckpoint.parse(body)


def pod(**changes: Any) -> Document:
    """Return the pod `default/web-0`, running on `node1`, with the container `app`."""
    body: Document = {
        "metadata": {"name": "web-0", "namespace": "default", "uid": POD_UID},
        "spec": {"nodeName": "node1", "containers": [{"name": "app", "image": "app:1"}]},
        "status": {
            "phase": "Running",
            "containerStatuses": [
                {"name": "app", "containerID": "containerd://abc", "image": "app:1"}
            ],
        },
    }
    for part, change in changes.items():
        body[part] = body[part] | change
    return body


def node(labels: Document | None = None, system: str = "linux") -> Document:
    """Return a node."""
    return {
        "metadata": {"name": "node1", "labels": labels or {}},
        "status": {"nodeInfo": {"operatingSystem": system}},
    }


def job(condition: str = "", *, at: datetime = NOW, deletionTimestamp: str = "") -> Document:  # noqa: N803
    """Return the current attempt's Job; over, if a condition is named."""
    conditions = [
        {
            "type": condition,
            "status": "True",
            "reason": "BackoffLimitExceeded",
            "message": "Job has reached the specified backoff limit",
            "lastTransitionTime": at.isoformat(),
        }
    ]
    labels = {CHECKPOINT_UID_LABEL: UID}
    own: Document = {"name": JOB, "namespace": "forensics-system", "uid": "j", "labels": labels}
    if deletionTimestamp:
        own["deletionTimestamp"] = deletionTimestamp
    return {
        "metadata": own,
        "status": {"conditions": conditions if condition else []},
    }


def collector_pod(state: Document | None = None, **status: Any) -> Document:
    """Return the current attempt's pod; `state` is its container's."""
    labels = {CHECKPOINT_UID_LABEL: UID, "batch.kubernetes.io/job-name": JOB}
    containers = [{"name": "collector", "state": state or {"running": {}}}]
    return {
        "metadata": {
            "name": f"{JOB}-x",
            "namespace": "forensics-system",
            "uid": "w",
            "labels": labels,
        },
        "status": {"phase": "Running", "containerStatuses": containers} | status,
    }


def ended(code: int, reason: str, message: str = "") -> Document:
    """Return the state of a container that has ended."""
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def settings(**more: Any) -> Settings:
    """Return settings that allow `s3://cases`."""
    rule = {"prefix": "s3://cases", "credentials": {"secret": "collector-s3"}}
    values = {"destinations": [rule], "defaultDestination": "s3://cases"}
    return Settings.model_validate(values | more)


def decoded(secret: Document) -> bytes:
    """Return the order in a Secret, as the collector reads it."""
    return base64.b64decode(secret["data"]["order.json"])


def _bundle() -> FinishedBundle:
    capture = Capture(
        order=OrderFacts(
            uid=UUID(UID), attempt=1, sha256="0" * 64, destination="s3://cases", bundle="b"
        ),
        tool=Tool(version="test"),
        node=Node(hostname="node1"),
        started_at=NOW,
        finished_at=NOW,
        containers=(Container(name="app", container_id="containerd://abc"),),
    )
    statement = Statement(subject=(), predicate=capture)
    return FinishedBundle(statement, "0" * 64, StoredObject("manifest.json", 1))


BUNDLE = _bundle()
