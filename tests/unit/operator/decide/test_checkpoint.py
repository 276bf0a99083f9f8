"""The decision, observation by observation."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from forensics_core.api.podcheckpoint import Progress
from forensics_core.errors import (
    AccessDenied,
    Conflict,
    DestinationError,
    DestinationFull,
    DestinationUnreachable,
    Forbidden,
    Invalid,
    UsageError,
    VerificationError,
)
from forensics_core.operator.actions import (
    AddFinalizer,
    AttemptOver,
    BackOff,
    CreateJob,
    Expire,
    Fail,
    Finish,
    Monitor,
    Release,
    Relocate,
    ReportDelay,
    RequeueAfter,
    ResumeAttempt,
    SetCaptured,
    StartAttempt,
    StepBack,
    StopJob,
    Thaw,
    Wait,
)
from forensics_core.operator.attempt.order import build_order
from forensics_core.operator.attempt.pods import JobOutcome
from forensics_core.operator.decide.attempt import NextStep
from forensics_core.operator.decide.checkpoint import decide
from forensics_core.operator.evidence.manifest import BundleFacts
from forensics_core.operator.observed import (
    Absent,
    Contradicting,
    Failure,
    Foreign,
    ForeignObject,
    Good,
    Interrupted,
    Look,
    NameTaken,
    Observed,
    ObservedDestination,
    ObservedPod,
    ObservedSeal,
    OrderLost,
    StoredOrder,
    Unchecked,
    Unreachable,
    Unreadable,
)
from forensics_core.operator.settings import Timings
from tests.unit.operator.samples import (
    NOW,
    POD_UID,
    UID,
    Document,
    checkpoint,
    collector_pod,
    ended,
    job,
    node,
    pod,
    settings,
)

TIMES = Timings()
SILENCE = TIMES.silence
DELETED: Document = {"deletionTimestamp": NOW.isoformat()}
BARE: Document = {"finalizers": []}
THERE = ObservedPod(pod(), node())
FREE = ObservedDestination()
ORDER = build_order(checkpoint("Capturing"), pod(), (), (), "s3://cases", 3600)
ORDERED = StoredOrder(ORDER, "0" * 64)
AWAY = DestinationUnreachable("s3://cases does not answer")


def step(it: Any, *, after: timedelta = timedelta(0), **seen: Any) -> NextStep:
    return decide(Observed(it, NOW + after, **seen), settings(maxAttempts=3))


def evidence(attempt: int = 1, gaps: int = 0) -> BundleFacts:
    location = checkpoint("Capturing").status.location
    return BundleFacts(UID, attempt, location, "a" * 64, gaps=gaps, interrupted=bool(gaps))


# Before an attempt


def test_a_new_checkpoint_gets_the_finalizer_first() -> None:
    assert step(checkpoint(metadata=BARE)) == AddFinalizer()


def test_an_attempt_starts_once_pod_and_destination_were_looked_at() -> None:
    assert step(checkpoint()) is Look.POD
    assert step(checkpoint(), pod=THERE) is Look.DESTINATION
    assert step(checkpoint(), pod=THERE, destination=FREE) == StartAttempt(1, pod())
    waiting = {"node": "", "attempt": 0}
    found = step(checkpoint("Pending", status=waiting), pod=THERE, destination=FREE)
    assert found == StartAttempt(1, pod())


def test_an_attempt_that_had_to_wait_is_not_counted_from_the_start_again() -> None:
    it = checkpoint("Pending", status={"attempt": 1})
    assert step(it, pod=THERE) == StartAttempt(2, pod())


def test_a_destination_inside_a_bundle_is_refused_before_the_first_attempt() -> None:
    inside = step(checkpoint(), pod=THERE, destination=ObservedDestination(inside_bundle=True))
    assert isinstance(inside, Fail) and inside.reason == "DestinationIsBundle"
    assert "s3://cases/forensics" in inside.message


def test_a_destination_that_does_not_answer_is_waited_for() -> None:
    found = step(checkpoint(), pod=THERE, destination=Unreachable(AWAY))
    assert found == Wait(1, pod(), "DestinationUnreachable", str(AWAY), error=AWAY)


def test_a_pod_that_is_gone_is_refused() -> None:
    gone = step(checkpoint(), pod=ObservedPod(None))
    assert isinstance(gone, Fail) and gone.reason == "NotFound"


def test_a_pod_that_is_not_up_is_waited_for_until_it_took_too_long() -> None:
    unready = ObservedPod(pod(status={"containerStatuses": []}), node())
    found = step(checkpoint(), pod=unready)
    assert isinstance(found, Wait)
    assert (found.reason, found.store_context) == ("PodPending", False)
    assert found.until == NOW + TIMES.look_again
    told = {
        "type": "Captured",
        "status": "False",
        "reason": "PodPending",
        "message": "",
        "lastProbeTime": NOW.isoformat(),
        "lastTransitionTime": NOW.isoformat(),
    }
    waited = checkpoint("Pending", status={"attempt": 0, "conditions": [told]})
    assert isinstance(step(waited, pod=unready, after=timedelta(seconds=600)), Wait)
    over = step(waited, pod=unready, after=timedelta(seconds=601))
    assert isinstance(over, Fail)
    assert over.reason == "PodPending" and "Waited 601 s" in over.message


def test_while_its_node_is_busy_the_context_is_stored_and_then_it_rests() -> None:
    waiting = checkpoint("Pending", status={"node": "node1", "attempt": 0})
    last = NOW + timedelta(seconds=3600) + TIMES.overdue
    rests = step(waiting, busy=3, context_stored=True)
    assert rests == RequeueAfter(last)
    assert step(waiting, busy=3) is Look.POD
    busy = step(waiting, busy=3, pod=THERE, destination=FREE)
    assert isinstance(busy, Wait)
    assert (busy.reason, busy.node, busy.store_context) == ("NodeBusy", "node1", True)
    assert step(waiting, busy=2, context_stored=True) is Look.POD


def test_cancelled_before_it_began_it_is_over() -> None:
    found = step(checkpoint(spec={"cancel": True}))
    assert isinstance(found, Fail) and found.reason == "Cancelled"


@pytest.mark.parametrize(
    ("phase", "late"),
    [
        ("Pending", timedelta(seconds=3600) + TIMES.overdue),
        ("Capturing", timedelta(seconds=3600 + 300) + TIMES.overdue),
        ("Sealing", timedelta(seconds=3600) + TIMES.seal_overdue),
    ],
)
def test_a_deadline_holds_in_every_phase(phase: str, late: timedelta) -> None:
    deadline = (NOW + timedelta(seconds=3600)).isoformat()
    it = checkpoint(phase, status={"deadline": deadline, "attempt": 0})
    assert not isinstance(step(it, after=late - timedelta(seconds=1)), Fail)
    over = step(it, after=late)
    assert isinstance(over, Fail) and over.reason == "DeadlineExceeded"


# While an attempt is under way


def test_an_attempt_without_children_is_resumed_where_it_was_left() -> None:
    it = checkpoint("Capturing", status={"progress": {"summary": "starting"}})
    assert step(it) is Look.ORDER
    assert step(it, order=OrderLost()) is Look.POD
    assert step(it, order=OrderLost(), pod=THERE) == ResumeAttempt(pod())
    assert step(it, order=ORDERED) is Look.MANIFEST
    assert step(it, order=ORDERED, manifest=Absent()) == CreateJob(ORDER)
    good = Good(evidence(), b"m")
    found = step(it, order=ORDERED, manifest=good, signing_key=True)
    assert found == Finish(good.evidence, b"m", seal=True)


@pytest.mark.parametrize(
    ("seen", "resumes"),
    [
        (ObservedPod(None), False),
        (ObservedPod(pod(status={"containerStatuses": []}), node()), False),
        (ObservedPod(pod(), node() | {"status": {"conditions": [{"type": "Ready"}]}}), True),
    ],
    ids=["gone", "not up", "node not ready"],
)
def test_an_attempt_without_an_order_is_resumed_if_its_pod_can_be_captured(
    seen: ObservedPod, resumes: bool
) -> None:
    found = step(checkpoint("Capturing"), order=OrderLost(), pod=seen, bundles=())
    assert isinstance(found, ResumeAttempt if resumes else Fail)


def test_a_job_taken_away_after_it_stored_something_is_not_made_again() -> None:
    it = checkpoint("Capturing", status={"progress": {"artifactsDone": 1}})
    assert step(it) is Look.MANIFEST
    again = step(it, manifest=Absent(), pod=THERE)
    assert isinstance(again, StartAttempt) and again.attempt == 2


@pytest.mark.parametrize(
    "seen",
    [
        {"job": job()},
        {"job": job(), "collector_pod": collector_pod()},
        {"collector_pod": collector_pod()},
        {"job": job("Failed"), "collector_pod": collector_pod()},
    ],
)
def test_a_worker_that_may_still_speak_is_monitored(seen: Any) -> None:
    assert step(checkpoint("Capturing"), **seen) == Monitor()


def test_the_manifest_of_a_collector_that_says_that_it_ends_is_taken_if_it_is_good() -> None:
    it = checkpoint("Capturing")
    seen: Document = {"collector_pod": collector_pod(), "said_end": True}
    assert step(it, **seen) is Look.MANIFEST
    good = Good(evidence(), b"m")
    assert step(it, manifest=good, **seen) is Look.SIGNING_KEY
    assert step(it, manifest=good, signing_key=True, **seen) == Finish(
        good.evidence, b"m", seal=True
    )


@pytest.mark.parametrize(
    "found",
    [
        Absent(),
        Unreadable("x"),
        Contradicting(("x",)),
        Interrupted(evidence(), b"m"),
        Unchecked(evidence(), b"m"),
        Unreachable(DestinationUnreachable("x")),
    ],
    ids=lambda found: type(found).__name__,
)
def test_a_collector_that_says_that_it_ends_without_good_evidence_is_waited_for(found: Any) -> None:
    seen: Document = {"collector_pod": collector_pod(), "said_end": True, "manifest": found}
    assert step(checkpoint("Capturing"), **seen) == Monitor()


@pytest.mark.parametrize("spec", [{}, {"cancel": True}])
def test_progress_is_told_once(spec: Document) -> None:
    said = Progress(artifacts_done=2)
    seen: Document = {"collector_pod": collector_pod(), "progress": said}
    assert step(checkpoint("Capturing", spec=spec), **seen) == Monitor(progress=said)
    told = checkpoint("Capturing", spec=spec, status={"progress": {"artifactsDone": 2}})
    assert step(told, **seen) == Monitor()


def test_a_pod_that_never_ends_because_its_node_is_cut_off_is_given_up() -> None:
    cut_off = collector_pod()
    cut_off["metadata"]["deletionTimestamp"] = NOW.isoformat()
    for spec in ({}, {"cancel": True}):
        it = checkpoint("Capturing", spec=spec)
        assert step(it, collector_pod=cut_off) == Monitor(until=NOW + SILENCE)
        assert step(it, collector_pod=cut_off, after=SILENCE) is Look.MANIFEST


@pytest.mark.parametrize("unstarted", [None, collector_pod({"waiting": {}})])
def test_an_attempt_whose_worker_does_not_start_ends(unstarted: Document | None) -> None:
    young = job()
    young["metadata"]["creationTimestamp"] = NOW.isoformat()
    seen: Document = {
        "job": young,
        "collector_pod": unstarted,
        "delay": JobOutcome("Quota", "none", True),
    }
    it = checkpoint("Capturing")
    assert step(it, **seen) == Monitor(until=NOW + TIMES.late_start)
    start_by = timedelta(seconds=300)
    late = step(it, after=TIMES.late_start, **seen)
    assert isinstance(late, ReportDelay) and late.until == NOW + start_by
    again = step(it, after=start_by, pod=THERE, **seen)
    assert isinstance(again, StartAttempt) and again.over.stop_job
    assert f"{late.reason}: The collector did not start: " in again.over.why
    last = checkpoint("Capturing", status={"attempt": 3})
    ends = step(last, after=start_by, bundles=(), **seen)
    assert isinstance(ends, Fail) and ends.over.stop_job
    assert ends.message.endswith("(attempt 3 of 3)")
    assert step(it, after=start_by, job=young, collector_pod=collector_pod()) == Monitor()


def test_an_image_name_that_is_none_is_not_waited_for() -> None:
    young = job()
    young["metadata"]["creationTimestamp"] = NOW.isoformat()
    never = collector_pod({"waiting": {"reason": "InvalidImageName"}})
    ends = step(checkpoint("Capturing"), job=young, collector_pod=never, bundles=())
    assert isinstance(ends, Fail)
    assert (ends.reason, ends.over.stop_job) == ("InvalidImageName", True)
    assert ends.message.endswith("(attempt 1 of 3)")


def test_why_a_job_makes_no_pod_is_only_asked_once_it_is_late() -> None:
    young = job()
    young["metadata"]["creationTimestamp"] = NOW.isoformat()
    it = checkpoint("Capturing")
    assert step(it, job=young) == Monitor(until=NOW + TIMES.late_start)
    assert step(it, job=young, after=TIMES.late_start) is Look.DELAY
    assert step(it, job=young, after=timedelta(seconds=300)) is Look.DELAY


def test_a_job_that_just_ended_without_a_pod_is_given_a_moment() -> None:
    it = checkpoint("Capturing")
    assert step(it, job=job("Failed")) == RequeueAfter(NOW + SILENCE)
    later = SILENCE + timedelta(seconds=1)
    assert step(it, job=job("Failed"), after=later) is Look.MANIFEST


DONE = [
    {"job": job(), "collector_pod": collector_pod(ended(0, "Completed"))},
    {"job": job("Complete"), "collector_pod": collector_pod(ended(0, "Completed"))},
    {"job": job("Failed"), "collector_pod": collector_pod(phase="Failed")},
    {"collector_pod": collector_pod(ended(137, "OOMKilled"))},
    {"job": job("Failed", at=NOW - SILENCE - timedelta(seconds=1))},
]


@pytest.mark.parametrize("seen", DONE)
def test_when_the_worker_is_done_the_manifest_decides(seen: Any) -> None:
    it = checkpoint("Capturing")
    assert step(it, **seen) is Look.MANIFEST
    again = step(it, manifest=Absent(), pod=THERE, **seen)
    assert isinstance(again, StartAttempt) and again.attempt == 2


# How an attempt ends

OVER: Document = {"job": job("Failed"), "collector_pod": collector_pod(ended(1, "Error"))}


def test_the_last_attempt_is_the_last() -> None:
    third = checkpoint("Capturing", status={"attempt": 3})
    assert step(third, manifest=Absent(), **OVER) is Look.BUNDLES
    found = step(third, manifest=Absent(), bundles=(), **OVER)
    assert isinstance(found, Fail)


def test_without_any_time_left_there_is_no_other_attempt() -> None:
    deadline = NOW + TIMES.least_attempt
    late = checkpoint("Capturing", status={"deadline": deadline.isoformat()})
    seen: Document = {"manifest": Absent(), "pod": THERE, "bundles": (), **OVER}
    assert isinstance(step(late, **seen), StartAttempt)
    assert isinstance(step(late, after=timedelta(seconds=1), **seen), Fail)


def test_an_error_that_will_not_pass_is_not_tried_again() -> None:
    said = '{"reason": "AccessDenied", "message": "no", "retry": false}'
    refused = collector_pod(ended(1, "Error", said))
    found = step(checkpoint("Capturing"), collector_pod=refused, manifest=Absent(), bundles=())
    assert found == Fail("AccessDenied", "no (attempt 1 of 3)")


def test_cancelling_stops_the_job_waits_and_takes_what_is_left() -> None:
    it = checkpoint("Capturing", spec={"cancel": True})
    assert step(it, job=job(), collector_pod=collector_pod()) == StopJob()
    assert step(it, job=job(**DELETED), collector_pod=collector_pod()) == Monitor()
    assert step(it, collector_pod=collector_pod()) == Monitor()
    assert step(it, collector_pod=collector_pod(ended(4, "Error"))) is Look.MANIFEST
    assert step(it) is Look.MANIFEST
    nothing = step(it, manifest=Absent(), bundles=())
    assert isinstance(nothing, Fail) and nothing.reason == "Cancelled"
    part = Interrupted(evidence(gaps=1), b"m")
    assert step(it, manifest=part, signing_key=True) == Finish(part.evidence, b"m", seal=True)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (Unreadable("not a manifest"), "ManifestUnreadable"),
        (Contradicting(("a", "b", "c", "d", "e", "f", "g")), "NotSealed"),
        (Unchecked(evidence(), b"m"), "OrderLost"),
    ],
)
def test_a_manifest_that_cannot_be_taken_is_an_end(found: Any, reason: str) -> None:
    ends = step(checkpoint("Capturing"), manifest=found, bundles=(), **OVER)
    assert isinstance(ends, Fail) and ends.reason == reason
    if reason == "NotSealed":
        assert ends.message == "The evidence is not as ordered: a; b; c; d; e; and 2 more."


def test_a_store_that_does_not_answer_is_asked_again() -> None:
    away = Unreachable(AWAY)
    assert step(checkpoint("Capturing"), manifest=away, **OVER) == BackOff(AWAY)
    assert step(checkpoint("Sealing"), manifest=away) == BackOff(AWAY)
    third = checkpoint("Capturing", status={"attempt": 3})
    assert step(third, manifest=Absent(), bundles=away, **OVER) == BackOff(AWAY)


def test_an_overdue_checkpoint_ends_though_the_store_does_not_answer() -> None:
    it = checkpoint("Capturing", status={"deadline": NOW.isoformat()})
    found = step(it, after=timedelta(hours=1), bundles=Unreachable(AWAY), job=job())
    assert isinstance(found, Fail)
    assert (found.reason, found.over.stop_job) == ("DeadlineExceeded", True)


def test_what_may_stand_still_is_resumed_before_anything_else() -> None:
    it = checkpoint("Capturing", spec={"pause": True})
    seen: Document = {"manifest": Absent(), "pod": THERE, **OVER}
    assert step(it, **seen) is Look.ORDER
    assert step(it, order=ORDERED, **seen) == Thaw(("containerd://abc",))
    assert isinstance(step(it, order=OrderLost(), **seen), StartAttempt)
    assert isinstance(step(it, order=ORDERED, thawed=True, **seen), StartAttempt)
    late = checkpoint("Capturing", spec={"pause": True}, status={"deadline": NOW.isoformat()})
    assert step(late, after=timedelta(hours=1), order=ORDERED) == Thaw(("containerd://abc",))


def test_an_interrupted_attempt_is_followed_by_another_while_the_pod_is_there() -> None:
    part = Interrupted(evidence(gaps=2), b"m")
    it = checkpoint("Capturing")
    seen: Document = {"manifest": part, "signing_key": False, **OVER}
    assert step(it, **seen) is Look.POD
    why = f"Interrupted: the collector was stopped. What it had is stored at {it.status.location}"
    assert step(it, pod=THERE, **seen) == StartAttempt(2, pod(), AttemptOver(why=why))
    other = ObservedPod(pod(metadata={"uid": "another"}))
    for gone in (ObservedPod(None), other):
        assert step(it, pod=gone, **seen) == Finish(part.evidence, b"m", seal=False)


def test_an_interrupted_attempt_is_refused_where_it_is_the_last_and_does_not_hold() -> None:
    part = Interrupted(evidence(gaps=1), b"m", ("it lies",))
    lost = Unchecked(evidence(gaps=1), b"m")
    it = checkpoint("Capturing")
    for found, reason in ((part, "NotSealed"), (lost, "OrderLost")):
        seen: Document = {"manifest": found, "bundles": (), **OVER}
        again = step(it, pod=THERE, **seen)
        assert isinstance(again, StartAttempt) and again.attempt == 2
        ends = step(it, pod=ObservedPod(None), **seen)
        assert isinstance(ends, Fail) and ends.reason == reason


def test_of_several_interrupted_bundles_the_most_complete_is_taken_then_the_latest() -> None:
    it = checkpoint("Capturing", status={"attempt": 3})
    own = Interrupted(evidence(3, gaps=2), b"m")
    assert step(it, manifest=own, **OVER) is Look.BUNDLES
    for earlier, best in (
        ((evidence(2, 2), evidence(1, 2)), 3),
        ((evidence(2, 3), evidence(1, 1)), 1),
        ((evidence(2, 1), evidence(1, 1)), 2),
        ((), 3),
    ):
        found = step(it, manifest=own, bundles=earlier, **OVER)
        assert isinstance(found, SetCaptured) and found.evidence.attempt == best
    assert step(it, manifest=own, bundles=Unreachable(AWAY), **OVER) == BackOff(AWAY)


def test_what_was_interrupted_is_taken_where_its_pod_may_not_be_captured_again() -> None:
    """The node went with it: the pod is still listed, and nothing can be started there."""
    own = Interrupted(evidence(gaps=1), b"m")
    found = step(
        checkpoint("Capturing"), manifest=own, pod=ObservedPod(pod(), None), bundles=(), **OVER
    )
    assert isinstance(found, SetCaptured) and found.evidence == own.evidence


# After that


def test_what_is_captured_is_compared_again_and_sealed() -> None:
    it = checkpoint("Sealing")
    assert step(it) is Look.MANIFEST
    good = Good(evidence(), b"m")
    assert step(it, manifest=good) is Look.SIGNING_KEY
    assert step(it, manifest=good, signing_key=True) == Finish(good.evidence, b"m", seal=True)


@pytest.mark.parametrize(
    ("found", "reason", "message"),
    [
        (Absent(), "ManifestLost", "not stored any more"),
        (Unreadable("nothing"), "ManifestLost", "It was replaced: nothing"),
        (Foreign(), "NotSealed", "not the one that was found first"),
        (Contradicting(("x",)), "NotSealed", "x"),
    ],
)
def test_evidence_that_changed_before_its_seal_is_an_end(
    found: Any, reason: str, message: str
) -> None:
    ends = step(checkpoint("Sealing"), manifest=found, bundles=())
    assert isinstance(ends, Fail)
    assert ends.reason == reason and message in ends.message


@pytest.mark.parametrize("seal", ObservedSeal)
def test_without_its_order_only_a_seal_of_ours_vouches_for_a_manifest(seal: ObservedSeal) -> None:
    it = checkpoint("Sealing", status={"manifestSHA256": "a" * 64})
    found = Unchecked(evidence(), b"m")
    assert step(it, manifest=found) is Look.SEAL
    ends = step(it, manifest=found, seal=seal, bundles=())
    assert isinstance(ends, Finish if seal is ObservedSeal.OURS else Fail)
    other = Unchecked(replace(evidence(), attempt=2), b"m")
    assert isinstance(step(it, manifest=other, seal=ObservedSeal.OURS, bundles=()), Fail)


def test_deleted_in_the_middle_nothing_goes_on_unseen() -> None:
    it = checkpoint("Capturing", metadata=DELETED)
    assert step(it, job=job(), collector_pod=collector_pod()) == StopJob()
    until = NOW + TIMES.deletion
    assert step(it, job=job(**DELETED), collector_pod=collector_pod()) == RequeueAfter(until)
    assert step(it, collector_pod=collector_pod(ended(4, "Error"))) == Release()
    assert step(it, collector_pod=collector_pod(), after=TIMES.deletion) == Release()
    assert step(it) == Release()
    paused = checkpoint("Capturing", metadata=DELETED, spec={"pause": True})
    assert step(paused, order=ORDERED) == Thaw(("containerd://abc",))
    assert step(paused, order=ORDERED, thawed=True) == Release()


def test_deleted_before_it_is_sealed_it_is_sealed_first_for_a_while() -> None:
    it = checkpoint("Sealing", metadata=DELETED)
    good = Good(evidence(), b"m")
    found = step(it, job=job("Complete"), manifest=good, signing_key=True)
    assert isinstance(found, Finish)
    assert step(it, after=TIMES.deletion) == Release()
    assert step(checkpoint("Complete", metadata=DELETED)) == Release()


def test_deleted_and_released_there_is_nothing_to_do() -> None:
    assert step(checkpoint("Complete", metadata=DELETED | BARE)) == RequeueAfter()


@pytest.mark.parametrize("phase", ["Complete", "Failed"])
def test_a_terminal_phase_is_final_whatever_is_seen(phase: str) -> None:
    it = checkpoint(phase, metadata=BARE, spec={"cancel": True})
    assert step(it, job=job(), collector_pod=collector_pod(ended(1, "Error"))) == RequeueAfter()


def test_a_finished_checkpoint_lives_for_its_time() -> None:
    it = checkpoint(
        "Failed",
        spec={"ttlSecondsAfterFinished": 60},
        status={"completionTime": NOW.isoformat()},
    )
    assert step(it) == RequeueAfter(NOW + timedelta(seconds=60))
    assert step(it, after=timedelta(seconds=60)) == Expire()


# What an action met

START, FINISH = StartAttempt(1, pod()), Finish(evidence(), b"m", seal=True)
FOREIGN = ForeignObject("written by somebody else")


def after(action: Any, error: Any, phase: str = "Capturing", **seen: Any) -> NextStep:
    """Return the step once an action failed, where no other attempt left anything."""
    return step(checkpoint(phase), failure=Failure(action, error), **{"bundles": (), **seen})


def test_where_somebody_else_has_written_another_location_is_taken() -> None:
    assert after(START, FOREIGN) == Relocate(FOREIGN)
    waiting = Wait(1, pod(), "NodeBusy", "m")
    assert after(waiting, FOREIGN, "Pending") == Relocate(FOREIGN)


@pytest.mark.parametrize("action", [START, ResumeAttempt(pod())])
def test_while_the_store_is_away_the_place_is_given_to_others(action: Any) -> None:
    assert after(action, AWAY) == StepBack(AWAY)
    assert after(Wait(1, pod(), "NodeBusy", "m"), AWAY, "Pending") == BackOff(AWAY)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AccessDenied("no"), "AccessDenied"),
        (DestinationError("no"), "DestinationRefused"),
        (UsageError("no"), "DestinationRefused"),
        (NameTaken("no"), "NameTaken"),
        (Invalid("no"), "Invalid"),
    ],
)
def test_what_would_be_refused_again_is_an_end(error: Any, reason: str) -> None:
    for action in (START, ResumeAttempt(pod()), Wait(1, pod(), "NodeBusy", "m")):
        ends = after(action, error)
        assert isinstance(ends, Fail)
        assert (ends.reason, ends.message) == (reason, str(error))


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (START, Conflict("it changed")),
        (START, DestinationFull("no room")),
        (Monitor(), Invalid("no")),
        (CreateJob(ORDER), AccessDenied("not allowed any more")),
        (FINISH, AccessDenied("no")),
        (FINISH, AWAY),
        (Monitor(), Conflict("it changed")),
        (SetCaptured(evidence()), Conflict("it changed")),
    ],
)
def test_what_may_pass_is_tried_again(action: Any, error: Any) -> None:
    assert after(action, error) == BackOff(error)


def test_a_name_that_is_taken_when_a_job_is_made_again_is_an_end() -> None:
    assert isinstance(after(CreateJob(ORDER), NameTaken("no")), Fail)


def test_a_seal_of_somebody_else_takes_back_that_the_pod_may_go() -> None:
    ends = after(FINISH, VerificationError("not made with this key"), "Sealing")
    assert isinstance(ends, Fail) and ends.reason == "NotSealed"


def test_evidence_that_no_status_holds_is_an_end() -> None:
    good = Good(evidence(), b"m")
    ends = after(FINISH, Invalid("too  long"), manifest=good)
    assert isinstance(ends, Fail)
    assert ends.reason == "ManifestUnreadable"
    assert ends.message == "The manifest says what cannot be: too long."
    assert isinstance(after(FINISH, Invalid("no"), "Sealing", manifest=good), BackOff)


def test_a_bundle_that_no_status_holds_leaves_the_others_to_be_taken() -> None:
    it = checkpoint("Capturing", status={"attempt": 3})
    own, other = evidence(3, 1), evidence(2, 2)
    refused = Failure(SetCaptured(own), Invalid("no"))
    seen: Document = {"manifest": Interrupted(own), "bundles": (other,), **OVER}
    found = step(it, failure=refused, **seen)
    assert isinstance(found, SetCaptured) and found.evidence == other
    left = step(it, failure=Failure(SetCaptured(other), Invalid("no")), **seen)
    assert isinstance(left, SetCaptured) and left.evidence == own


def test_the_pod_that_is_captured_again_is_the_one_that_was_meant() -> None:
    assert pod()["metadata"]["uid"] == POD_UID
    other = ObservedPod(pod(metadata={"uid": "another"}), node())
    ends = step(checkpoint("Capturing"), manifest=Absent(), pod=other, bundles=(), **OVER)
    assert isinstance(ends, Fail) and ends.reason == "PodReplaced"


def told_before(reason: str) -> Document:
    at = NOW.isoformat()
    said = {"reason": reason, "message": "", "lastProbeTime": at, "lastTransitionTime": at}
    return {"type": "Captured", "status": "False"} | said


QUOTA = Forbidden('jobs.batch "x" is forbidden: exceeded quota: small, requested: count/jobs=1')


@pytest.mark.parametrize("action", [StartAttempt(1, pod()), ResumeAttempt(pod()), CreateJob(ORDER)])
def test_a_quota_that_is_used_up_is_said_and_tried_again_until_it_is_not(action: object) -> None:
    capturing = checkpoint("Capturing")
    told = step(capturing, failure=Failure(action, QUOTA))
    assert isinstance(told, ReportDelay) and told.reason == "QuotaExceeded"
    assert "no quota is left in the namespace 'forensics-system'" in told.message
    assert told.until == NOW + TIMES.look_again
    again = checkpoint(
        "Capturing",
        status={"conditions": [told_before("QuotaExceeded")]},
    )
    assert step(again, failure=Failure(action, QUOTA)) == BackOff(QUOTA)
    assert step(checkpoint("Pending"), failure=Failure(action, QUOTA)) == BackOff(QUOTA)
    other = Forbidden("secrets is forbidden")
    assert step(capturing, failure=Failure(action, other)) == BackOff(other)


def test_a_collector_that_finds_no_room_while_others_run_there_is_waited_for() -> None:
    unplaced = collector_pod({})
    unplaced["status"] = {
        "conditions": [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": "Insufficient memory",
            }
        ]
    }
    late = timedelta(seconds=settings().collector.start_seconds + 60)
    its_job = job()
    its_job["metadata"]["creationTimestamp"] = NOW.isoformat()
    waits = step(checkpoint("Capturing"), job=its_job, collector_pod=unplaced, busy=1, after=late)
    assert isinstance(waits, ReportDelay)
    assert waits.until == NOW + late + TIMES.look_again
    given_up = step(
        checkpoint("Capturing"), job=its_job, collector_pod=unplaced, busy=0, after=late
    )
    assert not isinstance(given_up, ReportDelay | Monitor)
