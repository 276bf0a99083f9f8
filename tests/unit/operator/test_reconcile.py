"""The decision, observation by observation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from forensics_core.operator.reconcile import (
    DELETION_WAIT,
    LEAST_TIME,
    OVERDUE,
    PATIENCE,
    SEAL_OVERDUE,
    SILENCE,
    Abandon,
    Dispatch,
    Expire,
    Follow,
    GiveUp,
    LookAtPod,
    LookForManifest,
    Observed,
    Protect,
    Release,
    Rest,
    Seal,
    Step,
    StopJob,
    reconcile,
)
from tests.unit.operator.samples import NOW, Document, checkpoint, ended, job, settings, worker

DELETED: Document = {"deletionTimestamp": NOW.isoformat()}
BARE: Document = {"finalizers": []}


def decide(it: Any, *, after: timedelta = timedelta(0), **seen: Any) -> Step:
    return reconcile(Observed(it, NOW + after, **seen), settings(maxAttempts=3))


def test_a_new_checkpoint_is_protected_first() -> None:
    assert decide(checkpoint(metadata=BARE)) == Protect()


def test_then_its_pod_is_looked_at() -> None:
    assert decide(checkpoint()) == LookAtPod(attempt=1)
    waiting = {"node": "", "attempt": 0}
    assert decide(checkpoint("Pending", status=waiting)) == LookAtPod(attempt=1)


def test_an_attempt_that_had_to_wait_is_not_counted_from_the_start_again() -> None:
    assert decide(checkpoint("Pending", status={"attempt": 1})) == LookAtPod(attempt=2)


def test_while_its_node_is_busy_it_rests() -> None:
    waiting = checkpoint("Pending", status={"node": "node1", "attempt": 0})
    last = NOW + timedelta(seconds=3600) + OVERDUE
    assert decide(waiting, busy=1) == Rest(until=last)
    assert decide(waiting, busy=1, gathered=False) == LookAtPod(attempt=1)
    assert decide(waiting, busy=0) == LookAtPod(attempt=1)


@pytest.mark.parametrize(
    ("phase", "late"),
    [
        ("Pending", timedelta(seconds=3600) + OVERDUE),
        ("Capturing", timedelta(seconds=3600 + 300) + OVERDUE),
        ("Sealing", timedelta(seconds=3600) + SEAL_OVERDUE),
    ],
)
def test_a_deadline_holds_in_every_phase(phase: str, late: timedelta) -> None:
    deadline = (NOW + timedelta(seconds=3600)).isoformat()
    it = checkpoint(phase, status={"deadline": deadline, "attempt": 0})
    just_before = decide(it, after=late - timedelta(seconds=1))
    assert not isinstance(just_before, GiveUp)
    over = decide(it, after=late)
    assert isinstance(over, GiveUp) and over.reason == "DeadlineExceeded"


def test_a_job_taken_away_after_it_stored_something_is_not_made_again() -> None:
    silent = checkpoint("Capturing", status={"progress": {"summary": "starting"}})
    assert decide(silent) == Dispatch()
    spoken = checkpoint("Capturing", status={"progress": {"artifactsDone": 1}})
    assert decide(spoken) == LookForManifest(retry=True)


def test_a_pod_that_never_ends_because_its_node_is_cut_off_is_given_up() -> None:
    cut_off = worker()
    cut_off["metadata"]["deletionTimestamp"] = NOW.isoformat()
    for it, then in (
        (checkpoint("Capturing"), LookForManifest(retry=True)),
        (checkpoint("Capturing", spec={"cancel": True}), LookForManifest(retry=False)),
    ):
        assert decide(it, worker=cut_off) == Follow(until=NOW + SILENCE)
        assert decide(it, worker=cut_off, after=SILENCE) == then


def test_cancelled_before_it_began_it_is_over() -> None:
    step = decide(checkpoint(spec={"cancel": True}))
    assert isinstance(step, GiveUp)
    assert step.reason == "Cancelled"


def test_what_has_begun_without_children_is_dispatched() -> None:
    assert decide(checkpoint("Capturing")) == Dispatch()


@pytest.mark.parametrize(
    "seen",
    [
        {"job": job()},
        {"job": job(), "worker": worker()},
        {"worker": worker()},
        {"job": job("Failed"), "worker": worker()},
    ],
)
def test_a_worker_that_may_still_speak_is_followed(seen: Any) -> None:
    assert decide(checkpoint("Capturing"), **seen) == Follow()


@pytest.mark.parametrize("unstarted", [None, worker({"waiting": {}})])
def test_a_worker_that_does_not_start_is_given_up(unstarted: Document | None) -> None:
    young = job()
    young["metadata"]["creationTimestamp"] = NOW.isoformat()
    it = checkpoint("Capturing")
    seen: Document = {"job": young, "worker": unstarted}
    assert decide(it, **seen) == Follow(until=NOW + PATIENCE)
    start_by = timedelta(seconds=300)
    assert decide(it, after=PATIENCE, **seen) == Follow(until=NOW + start_by)
    assert decide(it, after=start_by, **seen) == Abandon(retry=True)
    last = checkpoint("Capturing", status={"attempt": 3})
    assert decide(last, after=start_by, **seen) == Abandon(retry=False)
    assert decide(it, after=start_by, job=young, worker=worker()) == Follow()


def test_an_image_name_that_is_none_is_not_waited_for() -> None:
    young = job()
    young["metadata"]["creationTimestamp"] = NOW.isoformat()
    never = worker({"waiting": {"reason": "InvalidImageName"}})
    assert decide(checkpoint("Capturing"), job=young, worker=never) == Abandon(retry=True)


DONE = [
    {"job": job(), "worker": worker(ended(0, "Completed"))},
    {"job": job("Complete"), "worker": worker(ended(0, "Completed"))},
    {"job": job("Failed"), "worker": worker(phase="Failed")},
    {"worker": worker(ended(137, "OOMKilled"))},
    {"job": job("Failed", at=NOW - SILENCE - timedelta(seconds=1))},
]


def test_a_job_that_just_ended_without_a_pod_is_given_a_moment() -> None:
    it = checkpoint("Capturing")
    assert decide(it, job=job("Failed")) == Rest(until=NOW + SILENCE)
    later = SILENCE + timedelta(seconds=1)
    assert decide(it, job=job("Failed"), after=later) == LookForManifest(retry=True)


@pytest.mark.parametrize("seen", DONE)
def test_when_the_worker_is_done_the_manifest_decides(seen: Any) -> None:
    assert decide(checkpoint("Capturing"), **seen) == LookForManifest(retry=True)


def test_the_last_attempt_is_the_last() -> None:
    third = checkpoint("Capturing", status={"attempt": 3})
    over = worker(ended(1, "Error"))
    assert decide(third, job=job("Failed"), worker=over) == LookForManifest(retry=False)


def test_without_any_time_left_there_is_no_other_attempt() -> None:
    over = worker(ended(1, "Error"))
    late = checkpoint("Capturing", status={"deadline": (NOW + LEAST_TIME).isoformat()})
    assert decide(late, worker=over) == LookForManifest(retry=True)
    later = timedelta(seconds=1)
    assert decide(late, worker=over, after=later) == LookForManifest(retry=False)


def test_cancelling_stops_the_job_waits_and_takes_what_is_left() -> None:
    it = checkpoint("Capturing", spec={"cancel": True})
    assert decide(it, job=job(), worker=worker()) == StopJob()
    assert decide(it, job=job(**DELETED), worker=worker()) == Follow()
    assert decide(it, worker=worker()) == Follow()
    assert decide(it, worker=worker(ended(4, "Error"))) == LookForManifest(retry=False)
    assert decide(it) == LookForManifest(retry=False)


def test_what_is_captured_is_sealed() -> None:
    assert decide(checkpoint("Sealing")) == Seal()


def test_deleted_in_the_middle_nothing_goes_on_unseen() -> None:
    it = checkpoint("Capturing", metadata=DELETED)
    assert decide(it, job=job(), worker=worker()) == StopJob()
    assert decide(it, job=job(**DELETED), worker=worker()) == Rest(until=NOW + DELETION_WAIT)
    assert decide(it, worker=worker(ended(4, "Error"))) == Release()
    assert decide(it, worker=worker(), after=DELETION_WAIT) == Release()
    assert decide(it) == Release()


def test_deleted_before_it_is_sealed_it_is_sealed_first_for_a_while() -> None:
    it = checkpoint("Sealing", metadata=DELETED)
    assert decide(it, job=job("Complete")) == Seal()
    assert decide(it, after=DELETION_WAIT) == Release()
    assert decide(checkpoint("Complete", metadata=DELETED)) == Release()


def test_deleted_and_released_there_is_nothing_to_do() -> None:
    assert decide(checkpoint("Complete", metadata=DELETED | BARE)) == Rest()


@pytest.mark.parametrize("phase", ["Complete", "Failed"])
def test_a_terminal_phase_is_final_whatever_is_seen(phase: str) -> None:
    it = checkpoint(phase, metadata=BARE, spec={"cancel": True})
    assert decide(it, job=job(), worker=worker(ended(1, "Error"))) == Rest()


def test_a_finished_checkpoint_lives_for_its_time() -> None:
    it = checkpoint(
        "Failed",
        spec={"ttlSecondsAfterFinished": 60},
        status={"completionTime": NOW.isoformat()},
    )
    assert decide(it) == Rest(until=NOW + timedelta(seconds=60))
    assert decide(it, after=timedelta(seconds=60)) == Expire()
