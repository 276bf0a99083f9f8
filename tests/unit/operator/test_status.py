"""What the status becomes, step by step; also where a node said something odd."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from forensics_core.api.conditions import find_condition
from forensics_core.api.podcheckpoint import Phase, Progress
from forensics_core.bundle.layout import is_of_attempt
from forensics_core.bundle.manifest import Container, NotCaptured
from forensics_core.bundle.writer import FinishedBundle
from forensics_core.operator.attempt.pods import reason_word
from forensics_core.operator.evidence.manifest import MAX_CONTAINERS, BundleFacts, evidence_of
from forensics_core.operator.status import (
    is_delayed,
    is_of,
    location_of,
    seconds_left,
    set_captured,
    set_capturing,
    set_complete,
    set_delayed,
    set_failed,
    set_progress,
    set_relocated,
    set_waiting,
    waiting_since,
)
from tests.unit.operator.samples import BUNDLE, NOW, POD_UID, checkpoint, pod

EVIDENCE = evidence_of(BUNDLE)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("OOMKilled", "OOMKilled"),
        ("not supported!", "notsupported"),
        ("7 dwarfs", "dwarfs"),
        ("\u202e<script>", "script"),
        ("404", "Unknown"),
        ("", "Unknown"),
        ("x" * 2000, "x" * 60),
    ],
)
def test_any_text_becomes_a_word_that_a_condition_can_bear(text: str, word: str) -> None:
    assert reason_word(text, "Unknown") == word


def test_whoever_waits_has_the_pod_pinned_and_no_worker() -> None:
    it = checkpoint("Capturing", status={"active": 1, "podUID": ""})
    status = set_waiting(it, pod(), "NodeBusy", "Another one is at it.", NOW, node="node1")
    assert (status.phase, status.node, status.pod_uid) == (Phase.PENDING, "node1", POD_UID)
    assert (status.active, status.start_time) == (0, NOW)


def having(**changes: object) -> BundleFacts:
    """Return the evidence of a bundle whose predicate says something else."""
    capture = BUNDLE.statement.predicate.model_copy(update=changes)
    statement = BUNDLE.statement.model_copy(update={"predicate": capture})
    return evidence_of(FinishedBundle(statement, BUNDLE.manifest_sha256, BUNDLE.manifest))


def test_a_manifest_that_fits_in_no_status_is_refused() -> None:
    containers = (Container(name="../../etc", container_id="x"),)
    with pytest.raises(ValueError, match="name"):
        set_captured(checkpoint("Capturing"), having(containers=containers), NOW)
    # No `UsageError`, which would be raised again and again: nobody gave an argument.
    with pytest.raises(ValueError, match="less than or equal"):
        set_captured(checkpoint("Capturing"), replace(EVIDENCE, bytes_read=2**60), NOW)


def test_a_pod_of_more_containers_than_a_status_holds_is_captured_all_the_same() -> None:
    names = [f"c{number}" for number in range(MAX_CONTAINERS + 1)]
    many = pod()
    many["spec"]["containers"] = [{"name": name, "image": "x"} for name in names]
    begins = set_capturing(checkpoint(), many, "s3://cases", 1, "", NOW)
    assert len(begins.containers) == MAX_CONTAINERS
    told = having(containers=tuple(Container(name=name, container_id="x") for name in names))
    done = set_captured(checkpoint("Capturing"), told, NOW)
    assert len(done.containers) == MAX_CONTAINERS


@pytest.mark.parametrize(
    ("result", "state"), [("Captured", "Partial"), ("Partial", "Partial"), ("Failed", "Failed")]
)
def test_a_container_that_lacks_something_is_not_called_captured(result: Any, state: str) -> None:
    rows = tuple(Container(name=name, container_id="x", result=result) for name in ("app", "db"))
    gap = NotCaptured(what="logs", container="app", reason="Gone", message="m")
    minor = NotCaptured(what="x", container="db", reason="Gone", message="m", requested=False)
    told = having(containers=rows, not_captured=(gap, minor))
    done = set_captured(checkpoint("Capturing"), told, NOW)
    assert [str(row.state) for row in done.containers] == [state, result]


def gaps(count: int, reason: str = "Gone") -> BundleFacts:
    lost = [
        NotCaptured(what=f"artifact {number}", reason=reason, message="m")
        for number in range(count)
    ]
    note = NotCaptured(what="a remark", reason="Limit", message="m", requested=False)
    return having(not_captured=(note, *lost))


def test_gaps_are_listed_and_the_rest_counted() -> None:
    status = set_complete(checkpoint("Sealing"), gaps(12, "it is gone!"), True, NOW)
    partial = find_condition(status.conditions, "Partial")
    assert partial
    assert partial.reason == "itisgone"
    assert "artifact 9 (m); and 2 more" in partial.message
    assert "a remark" not in partial.message
    assert status.progress
    assert status.progress.summary == "partial"


def test_a_remark_makes_nothing_partial() -> None:
    status = set_complete(checkpoint("Sealing"), gaps(0), False, NOW)
    assert find_condition(status.conditions, "Partial") is None
    done = find_condition(status.conditions, "Complete")
    assert done
    assert done.reason == "NotSealed"


def test_a_failure_counts_the_attempts_that_were_made() -> None:
    assert set_failed(checkpoint("Capturing"), "OOMKilled", "", NOW).failed == 1
    assert set_failed(checkpoint(), "NotFound", "", NOW).failed == 0


def test_all_attempts_share_one_deadline() -> None:
    it = checkpoint(spec={"activeDeadlineSeconds": 600})
    first = it.model_copy(update={"status": set_capturing(it, pod(), "s3://cases", 1, "", NOW)})
    later = NOW + timedelta(seconds=200)
    assert first.status.deadline == NOW + timedelta(seconds=600)
    assert seconds_left(first, later) == 600, "it may have waited for its place"
    second = it.model_copy(
        update={"status": set_capturing(first, pod(), "s3://cases", 2, "", later)}
    )
    assert second.status.deadline == first.status.deadline
    assert seconds_left(second, later) == 400
    assert seconds_left(second, later + timedelta(hours=1)) == 1


@pytest.mark.parametrize(("cancel", "reason"), [(True, "Cancelled"), (False, "Interrupted")])
def test_who_was_told_to_end_was_cancelled_only_if_somebody_asked(
    cancel: bool, reason: str
) -> None:
    it = checkpoint("Sealing", spec={"cancel": cancel})
    status = set_complete(it, gaps(1, "Interrupted"), True, NOW)
    partial = find_condition(status.conditions, "Partial")
    assert partial
    assert partial.reason == reason


def test_what_cannot_be_sealed_takes_back_that_the_pod_may_be_killed() -> None:
    found = checkpoint("Sealing").model_copy(
        update={"status": set_captured(checkpoint("Capturing"), EVIDENCE, NOW)}
    )
    assert found.captured
    status = set_failed(found, "ManifestLost", "It went.", NOW)
    taken_back = find_condition(status.conditions, "Captured")
    assert taken_back
    assert (taken_back.status, taken_back.reason) == ("False", "NotSealed")
    assert taken_back.message.startswith("Do not kill the pod: ")
    final = find_condition(status.conditions, "Failed")
    assert final
    assert (final.reason, final.message) == ("ManifestLost", taken_back.message)
    assert (status.succeeded, status.failed) == (0, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"uid": UUID(int=1)},
        {"attempt": 2},
        {"destination": "s3://elsewhere"},
        {"bundle": "forensics/another-1"},
    ],
)
def test_a_manifest_of_another_order_is_not_this_attempts(changes: dict[str, object]) -> None:
    it = checkpoint("Sealing", status={"manifestSHA256": BUNDLE.manifest_sha256})
    bundle = it.status.location.removeprefix("s3://cases/").strip("/")
    order = BUNDLE.statement.predicate.order.model_copy(update={"bundle": bundle})
    assert is_of(it, having(order=order))
    assert not is_of(it, having(order=order.model_copy(update=changes)))
    replaced = it.status.model_copy(update={"manifest_sha256": "1" * 64})
    assert not is_of(it.model_copy(update={"status": replaced}), having(order=order))


def test_the_place_of_an_attempt_stays_where_it_was_fixed() -> None:
    it = checkpoint()
    place = location_of(it, "s3://cases/", 1, NOW)
    stem = "s3://cases/forensics/20260801T101112Z_default_web-0_5df8120f"
    assert re.fullmatch(f"{stem}-1-[0-9a-f]{{16}}/", place)
    assert location_of(it, "s3://cases/", 1, NOW) != place, "nobody can guess the next one"
    held = set_waiting(it, pod(), "NodeBusy", "m", NOW, node="node1", location=place)
    held_there = it.model_copy(update={"status": held})
    later = NOW + timedelta(hours=1)
    assert set_capturing(held_there, pod(), "s3://cases", 1, "", later).location == place
    second = set_capturing(held_there, pod(), "s3://cases", 2, "", later).location
    assert re.fullmatch(f"{stem.replace('T10', 'T11')}-2-[0-9a-f]{{16}}/", second)
    elsewhere = set_relocated(held_there, "s3://cases", later).location
    assert elsewhere != place and is_of_attempt(elsewhere, 1)
    assert set_waiting(held_there, pod(), "PodPending", "m", NOW).location == place


def test_how_long_something_was_waited_for_is_counted_from_when_it_was_told() -> None:
    it = checkpoint()
    told = it.model_copy(update={"status": set_waiting(it, pod(), "PodPending", "m", NOW)})
    later = NOW + timedelta(seconds=10)
    assert waiting_since(told, "PodPending", later) == NOW
    assert waiting_since(told, "NodeNotReady", later) == later
    assert waiting_since(it, "PodPending", later) == later


def test_a_delay_is_told_once_and_taken_back_when_the_worker_runs() -> None:
    it = checkpoint()
    it = it.model_copy(update={"status": set_capturing(it, pod(), "s3://cases", 1, "", NOW)})
    assert not is_delayed(it)
    status = set_delayed(it, "ImagePullBackOff", "no such image", NOW)
    late = it.model_copy(update={"status": status})
    told = find_condition(status.conditions, "Captured")
    assert told
    assert (told.reason, told.status) == ("ImagePullBackOff", "False")
    assert told.message == "The collector has not started: no such image."
    assert status.progress
    assert status.progress.summary == "ImagePullBackOff"
    assert set_delayed(late, "ImagePullBackOff", "again", NOW) is status
    runs = set_progress(late, Progress(artifacts_done=1), NOW)
    back = find_condition(runs.conditions, "Captured")
    assert back
    assert (back.reason, back.message) == ("Capturing", "Attempt 1 is under way.")
    usual = set_progress(it, Progress(artifacts_done=1), NOW)
    assert usual.conditions == it.status.conditions


def test_a_container_that_was_never_created_is_skipped() -> None:
    both = pod()
    both["spec"]["containers"] = [{"name": name, "image": "x"} for name in ("app", "late")]
    it = checkpoint()
    status = set_capturing(it, both, "s3://cases", 1, "", NOW)
    (never,) = status.containers
    assert (never.name, never.state, never.reason) == ("late", "Skipped", "It was never created.")
    done = set_captured(it.model_copy(update={"status": status}), EVIDENCE, NOW)
    states = {row.name: str(row.state) for row in done.containers}
    assert states.pop("late") == "Skipped" and "Skipped" not in states.values()
    only = checkpoint(spec={"containers": ["app"]})
    assert set_capturing(only, both, "s3://cases", 1, "", NOW).containers == ()
