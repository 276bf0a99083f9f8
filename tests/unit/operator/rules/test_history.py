"""What rules remember of their captures, and what they read it from."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from forensics_core.api.capturerule import CaptureRule
from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.operator.rules.history import CaptureHistory, PastCapture
from forensics_core.operator.rules.registry import utc
from tests.unit.operator.rules.pods import NOW, at, rule

OURS = "forensics-system/dying"


def checkpoint(name: str = "web-0-1", **status: Any) -> PodCheckpoint:
    return PodCheckpoint.parse(
        {
            "metadata": {
                "name": name,
                "namespace": "forensics-system",
                "creationTimestamp": at(-60),
                "labels": {"forensics.orkaproj.io/rule": "dying"},
                "annotations": {
                    "forensics.orkaproj.io/expected-pod-uid": "uid",
                    "forensics.orkaproj.io/trigger-key": "key",
                },
            },
            "spec": {"pod": "web-0"},
            "status": status,
        }
    )


def test_checkpoints_of_rules_are_remembered_with_pod_time_and_key() -> None:
    history = CaptureHistory()
    history.learn(checkpoint())
    assert history.count_of_pod(OURS, "uid", dry=False) == 1
    assert history.count_since(OURS, NOW - 61, dry=False) == 1
    assert history.count_since(OURS, NOW - 60, dry=False) == 0
    assert history.count_since(OURS, 0, dry=False, namespace="forensics-system") == 1
    assert history.count_since(OURS, 0, dry=False, namespace="shop") == 0
    assert history.duplicate(OURS, "key", NOW - 61, dry=False)
    assert not history.duplicate(OURS, "other", NOW - 61, dry=False)
    assert not history.count_of_pod(OURS, "uid", dry=True)


def test_checkpoints_that_people_made_are_not() -> None:
    history = CaptureHistory()
    history.learn(PodCheckpoint.parse({"metadata": {"name": "a"}, "spec": {"pod": "web-0"}}))
    assert len(history) == 0


def test_what_came_to_nothing_is_no_reason_to_hold_back_but_counts() -> None:
    history = CaptureHistory()
    history.learn(checkpoint(phase="Failed"))
    assert not history.duplicate(OURS, "key", 0, dry=False)
    assert not history.by_another("forensics-system/other", "uid", NOW, dry=False)
    assert history.count_of_pod(OURS, "uid", dry=False) == 1


def test_another_rules_capture_stands_until_it_is_over_and_a_minute_longer() -> None:
    history = CaptureHistory()
    history.learn(checkpoint())
    assert history.by_another("other", "uid", NOW + 9999, dry=False)
    assert not history.by_another(OURS, "uid", NOW, dry=False)
    history.learn(checkpoint(), gone=True)
    assert history.by_another("other", "uid", NOW - 1, dry=False)
    assert not history.by_another("other", "uid", NOW, dry=False)


def test_a_key_that_is_known_is_not_forgotten_and_a_withdrawn_capture_is() -> None:
    history = CaptureHistory()
    history.note(PastCapture("a", OURS, "uid", NOW, "key"))
    history.note(PastCapture("a", OURS, "uid", NOW))
    assert history.duplicate(OURS, "key", 0, dry=False)
    history.withdraw("a")
    history.withdraw("a")
    assert not history.knows("a", OURS, dry=False)
    assert not history.count_of_pod(OURS, "uid", dry=False)


def test_a_rules_status_is_remembered_where_its_checkpoints_are_gone() -> None:
    record = {
        "time": utc(NOW - 5),
        "event": "Failed",
        "namespace": "shop",
        "pod": "web-0",
        "podUID": "uid",
        "checkpoint": "web-0-1",
    }
    told = rule().rule.model_dump(mode="json", by_alias=True, exclude_none=True)
    told["status"] = {"lastCaptures": [record, record | {"checkpoint": "b", "dryRun": True}]}
    history = CaptureHistory()
    history.learn(checkpoint())
    history.recall(CaptureRule.parse(told))
    assert history.count_of_pod(OURS, "uid", dry=False) == 1
    assert history.duplicate(OURS, "key", 0, dry=False)
    assert history.count_of_pod(OURS, "uid", dry=True) == 1


def test_the_oldest_are_forgotten_first() -> None:
    history = CaptureHistory(limit=3)
    for number in range(5):
        history.note(PastCapture(str(number), OURS, f"uid-{number}", NOW))
    assert len(history) == 3
    assert [history.knows(str(number), OURS, dry=False) for number in range(5)] == [False] * 2 + [
        True
    ] * 3
    assert history.count_since(OURS, NOW - timedelta(hours=1).total_seconds(), dry=False) == 3
