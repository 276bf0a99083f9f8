"""What is kept of an object is enough for what is decided of it, and little."""

from __future__ import annotations

from typing import Any

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.operator.rules.history import CaptureHistory
from forensics_core.operator.shared.slim import slim_checkpoint, slim_child
from tests.unit.operator.samples import JOB, UID, job


def checkpoint(**metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "forensics.orkaproj.io/v1alpha1",
        "metadata": {"name": "a", "namespace": "b", "uid": UID, **metadata},
        "spec": {"pod": "web-0", "namespace": "shop", "reason": "long"},
        "status": {"phase": "Complete"},
    }


def test_of_an_object_whose_deletion_was_missed_enough_is_remembered() -> None:
    kept = slim_checkpoint(checkpoint(annotations={"x": "y"}, labels={"x": "y"}))
    assert PodCheckpoint.parse(kept).metadata.uid == UID
    assert kept["spec"] == {"pod": "web-0"}
    assert kept["metadata"].keys() == {"name", "namespace", "uid"}
    assert slim_child(job()) == {"metadata": job()["metadata"]}
    assert slim_child(job())["metadata"]["name"] == JOB


def test_thousands_of_one_namespace_share_its_name() -> None:
    one, other = (slim_checkpoint(checkpoint(namespace="".join(["b", "c"]))) for _ in range(2))
    assert one["metadata"]["namespace"] is other["metadata"]["namespace"]


def test_a_rules_limits_count_a_capture_whose_deletion_was_missed() -> None:
    whole = checkpoint(
        creationTimestamp="2026-11-28T08:00:00Z",
        labels={"forensics.orkaproj.io/rule": "dying", "x": "y"},
        annotations={
            "forensics.orkaproj.io/expected-pod-uid": "pod",
            "forensics.orkaproj.io/trigger-key": "key",
            "x": "y",
        },
    )
    memory = CaptureHistory()
    memory.learn(PodCheckpoint.parse(whole))
    memory.learn(PodCheckpoint.parse(slim_checkpoint(whole)), gone=True)
    assert memory.count_of_pod("b/dying", "pod", dry=False) == 1
    assert memory.count_since("b/dying", 0, dry=False, namespace="shop") == 1
    assert memory.duplicate("b/dying", "key", 0, dry=False)
