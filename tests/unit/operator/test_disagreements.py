"""A manifest that a node wrote, against the order that the operator wrote."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from forensics_core.api.order import ContextFile, PodRef, Requester, Target, WorkOrder
from forensics_core.evidence.manifest import (
    Capture,
    Container,
    Digest,
    Node,
    OrderRef,
    Statement,
    Subject,
    Tool,
)
from forensics_core.operator.sealing import disagreements
from tests.unit.operator.samples import NOW, POD_UID, UID

DIGEST, OTHER = "a" * 64, "b" * 64
FILE = ContextFile(name="context/pod.yaml", sha256=DIGEST, size=1, captured_at=datetime.now(UTC))
ORDER = WorkOrder(
    destination="s3://cases",
    bundle="forensics/x-1",
    uid=UID,  # type: ignore[arg-type] # pydantic reads it
    pod=PodRef(namespace="default", name="web-0", uid=POD_UID),
    targets=(Target(name="app", container_id="containerd://abc"),),
    requester=Requester(name="alice", attested=True),
    reason="odd traffic",
    incident="INC-7",
    context=(FILE,),
)


def statement(order: dict[str, Any] | None = None, **changes: Any) -> Statement:
    """Return the manifest that an honest collector writes, but for the changes."""
    said: dict[str, Any] = {
        "uid": ORDER.uid,
        "attempt": 1,
        "sha256": DIGEST,
        "destination": "s3://cases",
        "bundle": "forensics/x-1",
    }
    values: dict[str, Any] = {
        "order": OrderRef(**(said | (order or {}))),
        "pod": ORDER.pod,
        "requester": ORDER.requester,
        "reason": ORDER.reason,
        "incident": ORDER.incident,
        "tool": Tool(version="test"),
        "node": Node(hostname="node1"),
        "started_at": NOW,
        "finished_at": NOW,
        "containers": (Container(name="app", container_id="containerd://abc"),),
    }
    subject = (Subject(name=FILE.name, digest=Digest(sha256=DIGEST)),)
    return Statement(subject=subject, predicate=Capture(**(values | changes)))


def test_an_honest_manifest_agrees() -> None:
    assert list(disagreements(statement(), ORDER, DIGEST)) == []


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"order": {"uid": "00000000-0000-4000-8000-000000000000"}}, "order.uid differs"),
        ({"order": {"attempt": 2}}, "order.attempt differs"),
        ({"order": {"sha256": OTHER}}, "order.sha256 differs"),
        ({"order": {"destination": "s3://elsewhere"}}, "order.destination differs"),
        ({"order": {"bundle": "forensics/y-1"}}, "order.bundle differs"),
        ({"pod": PodRef(namespace="default", name="web-0", uid="another")}, "pod differs"),
        ({"requester": None}, "requester differs"),
        ({"requester": Requester(name="alice", attested=False)}, "requester differs"),
        ({"reason": ""}, "reason differs"),
        ({"incident": "INC-8"}, "incident differs"),
        ({"containers": ()}, "nothing is said of the container app"),
    ],
)
def test_each_difference_is_named(changes: Any, found: str) -> None:
    wrong = list(disagreements(statement(**changes), ORDER, DIGEST))
    assert len(wrong) == 1
    assert found in wrong[0]


def test_a_container_that_nobody_ordered_is_named() -> None:
    both = [Container(name=name, container_id=f"containerd://{name}") for name in ("abc", "spy")]
    (wrong,) = disagreements(statement(containers=tuple(both)), ORDER, DIGEST)
    assert wrong == "the container containerd://spy was not ordered"


@pytest.mark.parametrize("subject", [(), (Subject(name=FILE.name, digest=Digest(sha256=OTHER)),)])
def test_the_context_is_what_the_operator_stored(subject: tuple[Subject, ...]) -> None:
    altered = statement().model_copy(update={"subject": subject})
    assert "context/pod.yaml differs from what the operator stored" in list(
        disagreements(altered, ORDER, DIGEST)
    )


def test_a_manifest_that_contradicts_itself_is_found_out() -> None:
    stray = Subject(name="../../etc/passwd", digest=Digest(sha256=OTHER))
    altered = statement().model_copy(update={"subject": (*statement().subject, stray)})
    assert any("etc/passwd" in wrong for wrong in disagreements(altered, ORDER, DIGEST))
