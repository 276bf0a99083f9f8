"""The order: what is to be captured, and the Secret that carries it."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from forensics_core.api.names import REQUESTED_BY_ANNOTATION
from forensics_core.api.order import ContextFile
from forensics_core.errors import UsageError
from forensics_core.operator.attempt.order import build_order, build_secret, read_order
from forensics_core.operator.attempt.pods import container_names, never_created, targets
from tests.unit.operator.samples import JOB, UID, Document, checkpoint, decoded, pod


def every_kind() -> Document:
    """Return a pod with a container of each kind, one of which was never created."""
    return pod(
        spec={
            "initContainers": [{"name": "init"}],
            "containers": [{"name": "app"}, {"name": "late"}],
            "ephemeralContainers": [{"name": "debugger"}],
        },
        status={
            "initContainerStatuses": [{"name": "init", "containerID": "containerd://i"}],
            "containerStatuses": [
                {"name": "app", "containerID": "containerd://a", "image": "app:1"},
                {"name": "late"},
            ],
            "ephemeralContainerStatuses": [{"name": "debugger", "containerID": "containerd://d"}],
        },
    )


def test_containers_of_every_kind_are_captured_but_those_never_created() -> None:
    assert container_names(every_kind()) == ["init", "app", "late", "debugger"]
    assert [one.container_id for one in targets(every_kind(), ())] == [
        "containerd://i",
        "containerd://a",
        "containerd://d",
    ]
    assert never_created(every_kind(), ()) == ["late"]


def test_only_what_was_asked_for_counts() -> None:
    assert [one.name for one in targets(every_kind(), ["app", "late"])] == ["app"]
    assert never_created(every_kind(), ["app"]) == []
    assert never_created(every_kind(), ["late"]) == ["late"]


def test_the_order_says_all_that_the_request_says() -> None:
    asked: dict[str, Any] = {
        "reason": "odd traffic",
        "incident": "INC-7",
        "pause": True,
        "volumes": ["tls"],
        "deletedBudget": 7,
        "freeze": False,
        "retention": {"mode": "Compliance", "days": 30},
    }
    it = checkpoint(
        "Capturing",
        spec=asked | {"recordSeconds": 9},
        metadata={"annotations": {REQUESTED_BY_ANNOTATION: "alice"}},
    )
    file = ContextFile(
        name="context/pod.yaml", sha256="0" * 64, size=1, captured_at=datetime.now(UTC)
    )
    order = build_order(it, pod(), [file], ["context/node.json: Forbidden"], "s3://cases/", 3600)
    said = json.loads(order.model_dump_json(by_alias=True))
    assert order.record == 9
    assert asked.items() <= {**said, "retention": asked["retention"]}.items()
    assert (order.destination, order.bundle) == (
        "s3://cases",
        "forensics/20260801T101112Z_default_web-0_5df8120f-1",
    )
    assert said["requester"] == {"name": "alice", "attested": True}
    assert said["retention"]["days"] == 30
    assert said["notCaptured"] == ["context/node.json: Forbidden"]
    assert order.context == (file,)
    assert (str(order.uid), order.attempt) == (UID, 1)


def test_without_a_stamp_nobody_is_named() -> None:
    order = build_order(checkpoint("Capturing"), pod(), (), (), "s3://cases", 3600)
    assert order.requester is None


def test_the_secret_carries_the_order_and_goes_with_its_checkpoint() -> None:
    it = checkpoint("Capturing")
    order = build_order(it, pod(), (), (), "s3://cases", 3600)
    secret = build_secret(it, order)
    assert secret["immutable"] is True
    assert (secret["metadata"]["name"], secret["metadata"]["ownerReferences"][0]["uid"]) == (
        JOB,
        UID,
    )
    found, digest = read_order(secret)
    assert found == order
    assert digest == hashlib.sha256(decoded(secret)).hexdigest()


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"order.json": base64.b64encode(b'{"version": 1, "version": 1}').decode()},
        {"order.json": "!"},
        {"order.json": "e30="},
        {"order.json": "AAAA"},
    ],
)
def test_a_secret_that_somebody_edited_is_no_order(data: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="The Secret 'x' holds no work order"):
        read_order({"metadata": {"name": "x"}, "data": data})
