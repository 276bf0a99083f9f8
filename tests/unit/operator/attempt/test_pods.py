"""Termination messages of collectors: hints, whoever wrote them."""

from __future__ import annotations

import json

import pytest

from forensics_core.operator.attempt.pods import (
    JobOutcome,
    cannot_start,
    delay,
    delay_of_job,
    outcome,
    started,
)
from forensics_core.operator.status import set_failed
from tests.unit.operator.samples import NOW, Document, checkpoint, collector_pod, ended, job


def said(**words: object) -> Document:
    return collector_pod(ended(1, "Error", json.dumps(words)))


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (said(reason="AccessDenied", message="no"), "AccessDenied"),
        (said(reason="1 <b>x", message="no"), "bx"),
        (said(reason="???"), "Error"),
        (said(reason=["a"]), "Error"),
        (collector_pod(ended(1, "Error", "[]")), "Error"),
        (collector_pod(ended(137, "OOM killed: 9")), "OOMkilled9"),
        (collector_pod(phase="Failed", reason="node lost!"), "nodelost"),
        (collector_pod(phase="Failed", reason="Evicted", message="low on memory"), "Evicted"),
        (collector_pod(ended(0, "Completed")), "NoManifest"),
    ],
)
def test_every_reason_is_one_that_a_condition_can_bear(seen: Document, reason: str) -> None:
    found = outcome(None, seen)
    assert found.reason == reason
    set_failed(checkpoint("Capturing"), found.reason, found.message, NOW)


@pytest.mark.parametrize(
    "message",
    [
        '{"reason": "Bad", "message": "\\ud800"}',
        '{"reason": "Bad", "message": "\ud800"}',
        '{"reason": "Bad", "reason": "Good"}',
        '{"reason": "Bad", "retry": NaN}',
        '{"reason": "Bad", "later": ' + "[" * 100_000,
        '{"reason": "Bad", "later": [' + "{}," * 5_000 + "{}]}",
        '{"reason": "Bad", "message": "' + "x" * 20_000 + '"}',
        '{"reason": "Bad", "retry": ' + "9" * 10_000 + "}",
    ],
    ids=lambda message: ascii(message[:40]),
)
def test_last_words_that_could_be_read_in_two_ways_or_never_end_are_not_read(message: str) -> None:
    seen = outcome(None, collector_pod(ended(1, "Error", message)))
    assert seen == JobOutcome("Error", "The collector ended with code 1 (Error)", retry=True)


def test_who_claims_a_manifest_that_is_not_there_is_not_believed() -> None:
    seen = said(reason="Captured", retry=False, manifestSHA256="0" * 64)
    assert outcome(None, seen).reason == "NoManifest"
    assert outcome(None, seen).retry


def test_without_a_pod_the_job_tells_and_without_both_nobody() -> None:
    assert outcome(job("Failed"), None).reason == "BackoffLimitExceeded"
    assert outcome(None, None) == JobOutcome(
        "WorkerLost", "The collector's pod is gone without a word", retry=True
    )


def test_why_a_worker_has_not_started() -> None:
    said = {"reason": "ErrImagePull", "message": "pull access denied."}
    pulling = collector_pod({"waiting": said})
    assert delay(pulling, "node1") == JobOutcome(
        "ImagePullBackOff", "pull access denied", retry=True
    )
    creating = delay(collector_pod({"waiting": {"reason": "ContainerCreating"}}), "node1")
    assert creating.message == "The collector's container waits: ContainerCreating"
    unplaced = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    assert (
        delay(collector_pod(containerStatuses=[], conditions=[unplaced]), "n").reason
        == "Unschedulable"
    )
    silent = delay(collector_pod(containerStatuses=[]), "node1")
    assert (silent.reason, "'node1'" in silent.message) == ("NotStarted", True)


@pytest.mark.parametrize("reason", ["InvalidImageName", "ErrImageNeverPull"])
def test_an_image_that_no_attempt_can_start(reason: str) -> None:
    waits = collector_pod({"waiting": {"reason": reason, "message": "no"}})
    assert delay(waits, "node1") == JobOutcome(reason, "no", retry=False)
    assert cannot_start(waits) == (reason == "InvalidImageName")
    assert not cannot_start(collector_pod({"waiting": {"reason": "ErrImagePull"}}))
    assert not cannot_start(collector_pod())


def test_what_has_run_has_started() -> None:
    assert started(collector_pod())
    assert started(collector_pod(ended(1, "Error")))
    assert not started(collector_pod({"waiting": {}}))
    assert not started(collector_pod(containerStatuses=[]))


def test_why_a_job_has_made_no_pod() -> None:
    assert delay_of_job([]).reason == "NoWorker"
    said = [
        {"type": "Warning", "reason": "Earlier", "lastTimestamp": "2026-08-01T10:00:00Z"},
        {
            "type": "Warning",
            "reason": "FailedCreate",
            "message": "exceeded quota",
            "lastTimestamp": "2026-08-01T10:00:01Z",
        },
        {"type": "Normal", "reason": "Suspended", "lastTimestamp": "2026-08-01T10:00:02Z"},
    ]
    assert delay_of_job(said) == JobOutcome("QuotaExceeded", "exceeded quota", retry=True)
