"""PodCheckpoint: strict towards who writes, tolerant towards what is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from forensics_core.api.conditions import Condition, ConditionStatus
from forensics_core.api.order import DEFAULT_ARTIFACTS
from forensics_core.api.podcheckpoint import (
    ContainerState,
    ContainerStatus,
    Phase,
    PodCheckpoint,
    PodCheckpointSpec,
    PodCheckpointStatus,
    Progress,
)
from forensics_core.api.resource import ObjectMeta
from forensics_core.errors import UsageError

BODY: dict[str, Any] = {
    "apiVersion": "forensics.orkaproj.io/v1alpha1",
    "kind": "PodCheckpoint",
    "metadata": {
        "name": "web",
        "namespace": "forensics-system",
        "uid": "5df8120f-4366-40b4-be47-20a1c48277c4",
        "managedFields": [{"manager": "kubectl"}],
        "creationTimestamp": "2026-11-23T05:57:59Z",
    },
    "spec": {
        "pod": "web-0",
        "namespace": "prod",
        "destination": "s3://cases",
        "later": {"release": 2},
        "retention": {"days": 30, "later": 1},
    },
    "status": {
        "phase": "Capturing",
        "podUID": "u",
        "manifestSHA256": "0" * 64,
        "containers": [{"name": "web", "containerID": "docker://1", "state": "Captured", "x": 1}],
        "later": True,
    },
}


def test_unknown_fields_are_tolerated_on_the_way_in() -> None:
    checkpoint = PodCheckpoint.parse(BODY)
    assert checkpoint.spec.retention is not None
    assert checkpoint.spec.retention.days == 30
    assert checkpoint.status.pod_uid == "u"
    assert checkpoint.status.manifest_sha256 == "0" * 64
    assert checkpoint.status.containers[0].container_id == "docker://1"


def test_unknown_fields_are_refused_from_who_writes() -> None:
    with pytest.raises(ValidationError, match="poed"):
        PodCheckpointSpec.model_validate({"pod": "web-0", "poed": "x"})


def test_what_is_no_checkpoint_is_named() -> None:
    with pytest.raises(UsageError, match=r"spec\.pod: .*Compare it with"):
        PodCheckpoint.parse({"spec": {}})


def test_defaults_are_those_of_the_table() -> None:
    spec = PodCheckpointSpec(pod="web-0")
    assert spec.subpath == "forensics"
    assert spec.artifacts == DEFAULT_ARTIFACTS
    assert (spec.pause, spec.cancel, spec.compression) == (False, False, "auto")
    assert (spec.isolate, spec.after_capture, spec.release) == (False, "Keep", False)
    assert spec.active_deadline_seconds == 3600
    assert (spec.namespace, spec.destination, spec.ttl_seconds_after_finished) == (None, None, None)


def test_only_what_was_said_is_sent() -> None:
    checkpoint = PodCheckpoint(
        metadata=ObjectMeta(name="web"), spec=PodCheckpointSpec(pod="web-0", pause=True)
    )
    assert checkpoint.to_dict() == {
        "apiVersion": "forensics.orkaproj.io/v1alpha1",
        "kind": "PodCheckpoint",
        "metadata": {"name": "web"},
        "spec": {"pod": "web-0", "pause": True},
    }


def test_a_status_goes_out_in_the_tables_spelling() -> None:
    now = datetime(2026, 1, 1, 12, 0, 0, 999999, tzinfo=timezone(timedelta(hours=1)))
    status = PodCheckpointStatus(
        phase=Phase.SEALING,
        start_time=now,
        pod_uid="u",
        manifest_sha256="a" * 64,
        progress=Progress(artifacts_done=1, artifacts_total=7),
        containers=(ContainerStatus(name="web", container_id="c", state=ContainerState.PARTIAL),),
    )
    data = status.to_dict()
    assert data["startTime"] == "2026-01-01T11:00:00Z"
    assert data["podUID"] == "u"
    assert data["manifestSHA256"] == "a" * 64
    assert data["progress"]["artifactsTotal"] == 7
    assert data["containers"][0]["containerID"] == "c"
    assert "completionTime" not in data


def test_a_status_survives_the_round_trip() -> None:
    checkpoint = PodCheckpoint.parse(BODY)
    assert PodCheckpoint.parse(checkpoint.to_dict()) == checkpoint


def test_status_texts_are_cut_rather_than_refused() -> None:
    progress = Progress(current="x" * 10_000, summary="y" * 64)
    assert len(progress.current) == 253
    assert progress.summary == "y" * 62 + "…"


def test_a_text_that_is_none_is_still_refused() -> None:
    with pytest.raises(ValidationError):
        Progress.model_validate({"current": 5})


@pytest.mark.parametrize(
    ("phase", "terminal"),
    [
        (Phase.PENDING, False),
        (Phase.CAPTURING, False),
        (Phase.SEALING, False),
        (Phase.COMPLETE, True),
        (Phase.FAILED, True),
    ],
)
def test_two_phases_are_terminal(phase: Phase, terminal: bool) -> None:
    checkpoint = PodCheckpoint(
        spec=PodCheckpointSpec(pod="p"), status=PodCheckpointStatus(phase=phase)
    )
    assert phase.terminal is terminal
    assert checkpoint.finished is terminal


def test_a_new_checkpoint_is_neither_finished_nor_captured() -> None:
    checkpoint = PodCheckpoint(spec=PodCheckpointSpec(pod="p"))
    assert not checkpoint.finished
    assert not checkpoint.captured


def test_captured_is_a_condition() -> None:
    condition = Condition(
        type="Captured",
        status=ConditionStatus.TRUE,
        reason="ManifestFound",
        message="",
        last_transition_time=datetime(2026, 1, 1, tzinfo=UTC),
    )
    status = PodCheckpointStatus(conditions=(condition,))
    assert PodCheckpoint(spec=PodCheckpointSpec(pod="p"), status=status).captured


@pytest.mark.parametrize(
    ("spec", "own", "expected"),
    [("prod", "mine", "prod"), (None, "mine", "mine"), (None, None, "default")],
)
def test_the_target_namespace(spec: str | None, own: str | None, expected: str) -> None:
    checkpoint = PodCheckpoint(
        metadata=ObjectMeta(namespace=own), spec=PodCheckpointSpec(pod="p", namespace=spec)
    )
    assert checkpoint.target_namespace == expected


def test_children_belong_to_the_checkpoint() -> None:
    reference = PodCheckpoint.parse(BODY).owner_reference()
    assert reference["uid"] == BODY["metadata"]["uid"]
    assert (reference["controller"], reference["blockOwnerDeletion"]) == (True, True)
