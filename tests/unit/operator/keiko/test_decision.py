"""What is done about a PodCheckpoint of the older group, observation by observation."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.errors import Invalid, UsageError
from forensics_core.operator.keiko.decision import (
    CreateOurs,
    LinkTheirs,
    MirrorStatus,
    decide_mirror,
    mirrored,
    our_name,
    ours_for,
    owned_by,
    refused,
)
from tests.unit.operator.samples import Document, checkpoint

NOW = datetime(2026, 8, 1, 10, 11, 12, tzinfo=UTC)
REQUESTER = "forensics.orkaproj.io/requested-by"
SPEC = {"pod": "web-0", "namespace": "shop", "destination": "s3://cases", "subpath": "inc"}


def theirs(
    *, spec: Document | None = None, status: Document | None = None, **more: Any
) -> Document:
    metadata = {
        "name": "sample",
        "namespace": "forensics-system",
        "uid": "0a1b2c3d-1111",
        "resourceVersion": "5",
    } | more
    made: Document = {"metadata": metadata, "spec": SPEC if spec is None else spec}
    return made | ({"status": status} if status else {})


def linked(ours: PodCheckpoint) -> list[Document]:
    patch = decide_mirror(theirs(), ours)
    assert isinstance(patch, LinkTheirs)
    owners: list[Document] = patch.patch["metadata"]["ownerReferences"]
    return owners


def test_one_of_theirs_becomes_one_of_ours_with_the_same_four_fields() -> None:
    found = decide_mirror(theirs(annotations={REQUESTER: "alice", "x": "y"}), None)
    assert isinstance(found, CreateOurs)
    body = found.checkpoint.to_dict()
    assert body["spec"] == SPEC
    assert body["metadata"] == {
        "name": "sample-0a1b2c3d",
        "namespace": "forensics-system",
        "labels": {"forensics.orkaproj.io/keiko": "true"},
        "annotations": {REQUESTER: "alice"},
    }


def test_what_theirs_leaves_out_ours_does_too_and_an_empty_folder_is_none() -> None:
    assert ours_for(theirs(spec={"pod": "a"})).to_dict()["spec"] == {"pod": "a"}
    spec = ours_for(theirs(spec={"pod": "a", "subpath": "", "namespace": ""})).to_dict()["spec"]
    assert spec == {"pod": "a", "subpath": ""}


def test_the_name_of_ours_follows_from_theirs_and_fits() -> None:
    long = our_name(theirs(name="x" * 53 + "." + "y" * 100))
    assert long == "x" * 53 + "-0a1b2c3d" and len(long) <= 63


def test_ours_then_owns_theirs_and_blocks_nothing() -> None:
    ours = checkpoint("Pending")
    (reference,) = linked(ours)
    assert (reference["uid"], reference["controller"]) == (ours.metadata.uid, False)
    assert reference["blockOwnerDeletion"] is False
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "y"}
    patch = decide_mirror(theirs(ownerReferences=[other]), ours)
    assert isinstance(patch, LinkTheirs)
    assert patch.patch["metadata"]["ownerReferences"][0] == other
    assert patch.patch["metadata"]["resourceVersion"] == "5"
    assert owned_by(theirs())["controller"] is True


def test_the_status_is_told_as_it_always_was_and_only_if_it_is_news() -> None:
    at = NOW.isoformat()
    told = {"type": "Captured", "status": "False", "reason": "Capturing", "message": "m"}
    times = {"lastTransitionTime": at, "lastProbeTime": at, "observedGeneration": 1}
    ours = checkpoint("Capturing", status={"active": 1, "conditions": [told | times]})
    owners = linked(ours)
    found = decide_mirror(theirs(ownerReferences=owners), ours)
    assert isinstance(found, MirrorStatus)
    assert set(found.status) == {"conditions", "startTime", "active", "succeeded", "failed"}
    assert set(found.status["conditions"][0]) == {*told, "lastTransitionTime", "lastProbeTime"}
    same = theirs(ownerReferences=owners, status=found.status | {"other": "kept"})
    assert decide_mirror(same, ours) is None
    assert mirrored(checkpoint()) == {}
    assert decide_mirror(theirs(ownerReferences=owners), checkpoint()) is None


@pytest.mark.parametrize(
    "gone",
    [
        None,
        theirs(deletionTimestamp=NOW.isoformat()),
        theirs(ownerReferences=[{"apiVersion": "forensics.orkaproj.io/v1alpha1"}]),
        theirs(status={"completionTime": NOW.isoformat()}),
    ],
)
def test_nothing_is_made_for_one_that_is_going_or_over(gone: Document | None) -> None:
    assert decide_mirror(gone, None) is None


def test_what_cannot_be_asked_for_ends_with_the_reason() -> None:
    with pytest.raises(UsageError, match="destination") as raised:
        decide_mirror(theirs(spec={"pod": "a", "destination": "http://x"}), None)
    status = refused(raised.value, NOW)
    assert (status["failed"], status["completionTime"]) == (1, "2026-08-01T10:11:12Z")
    assert status["conditions"][0]["type"] == "Failed"
    assert status["conditions"][0]["reason"] == "UsageError"
    assert decide_mirror(theirs(spec={"pod": "a"}, status=status), None) is None
    assert refused(Invalid("no"), NOW)["conditions"][0]["message"] == "no."
