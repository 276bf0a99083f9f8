"""Whose turn it is on a busy node: the most urgent first, and nobody waits for ever."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forensics_core.api.urgency import Urgency, WaitingCapture
from forensics_core.operator.actions import RequeueAfter, StartAttempt, Wait
from forensics_core.operator.decide.attempt import has_place
from forensics_core.operator.decide.checkpoint import decide
from forensics_core.operator.decide.turn import rank
from forensics_core.operator.observed import Look, Observed, ObservedDestination, ObservedPod
from forensics_core.operator.settings import Timings
from tests.unit.operator.samples import NOW, Document, checkpoint, node, pod, settings

PLACES = 3
SETTINGS = settings(capturesPerNode=PLACES)
AGING = Timings().aging
DYING: Document = {"deletionTimestamp": NOW.isoformat()}
seconds = st.integers(0, 600)
urgencies = st.sampled_from([*Urgency, None])
lines = st.lists(st.tuples(urgencies, seconds), max_size=12)


def waiting(number: int, urgency: Urgency | None, waited: int) -> WaitingCapture:
    return WaitingCapture(f"uid-{number}", NOW - timedelta(seconds=waited), urgency, NOW)


def observed(own: WaitingCapture, line: list[WaitingCapture], busy: int) -> Observed:
    made = {"uid": own.uid, "creationTimestamp": own.since.isoformat()}
    it = checkpoint("Pending", metadata=made, status={"attempt": 0})
    return Observed(it, NOW, busy=busy, line=tuple(line), waiting=own, context_stored=True)


@given(lines, st.integers(0, PLACES + 2))
def test_of_all_that_wait_exactly_as_many_have_a_turn_as_there_are_places(
    several: list[tuple[Urgency | None, int]], busy: int
) -> None:
    line = [waiting(number, *each) for number, each in enumerate(several)]
    turns = [
        one
        for one in line
        if has_place(observed(one, [other for other in line if other is not one], busy), SETTINGS)
    ]
    assert len(turns) == min(len(line), max(0, PLACES - busy))
    by_rank = sorted(line, key=lambda one: rank(one, NOW, AGING))
    assert sorted(one.uid for one in turns) == sorted(one.uid for one in by_rank[: len(turns)])


@given(lines, st.sampled_from(Urgency))
def test_nobody_waits_for_ever_behind_those_who_come_later(
    later: list[tuple[Urgency | None, int]], urgency: Urgency
) -> None:
    old = waiting(99, urgency, int(2 * AGING.total_seconds()) + 601)
    # What was not looked at since a restart is, at once: that is no reason to wait for long.
    line = [
        waiting(number, found or Urgency.DYING, ago) for number, (found, ago) in enumerate(later)
    ]
    assert has_place(observed(old, line, PLACES - 1), SETTINGS)


def test_dying_pods_come_before_crash_looping_ones_before_the_rest_and_each_in_turn() -> None:
    line = [
        waiting(1, Urgency.REST, 30),
        waiting(2, Urgency.REST, 40),
        waiting(3, Urgency.CRASHING, 5),
        waiting(4, Urgency.DYING, 1),
        waiting(5, None, 0),
    ]
    by_rank = sorted(line, key=lambda one: rank(one, NOW, AGING))
    assert [one.uid for one in by_rank] == ["uid-5", "uid-4", "uid-3", "uid-2", "uid-1"]


def test_a_pod_that_was_just_looked_at_counts_as_it_is_now() -> None:
    own = waiting(1, Urgency.REST, 0)
    others = [waiting(number, Urgency.CRASHING, 9) for number in (2, 3, 4)]
    rests = observed(own, others, 0)
    assert not has_place(rests, SETTINGS)
    dying = ObservedPod(pod(metadata=DYING), node())
    free = ObservedDestination()
    start = decide(_with(rests, pod=dying, destination=free), SETTINGS)
    assert isinstance(start, StartAttempt)
    wait = decide(_with(rests, pod=ObservedPod(pod(), node()), destination=free), SETTINGS)
    # It was looked at, and others come first.
    assert wait == RequeueAfter(NOW + Timings().waiting_look)
    gone = decide(_with(rests, pod=ObservedPod(None), destination=free), SETTINGS)
    assert gone == RequeueAfter(NOW + Timings().waiting_look)


def test_a_pod_that_waits_is_looked_at_again_after_a_while() -> None:
    own = waiting(1, Urgency.REST, 0)
    full = observed(own, [], PLACES)
    assert decide(full, SETTINGS) == RequeueAfter(NOW + Timings().waiting_look)
    later = Observed(full.checkpoint, NOW + Timings().waiting_look, busy=PLACES, waiting=own)
    assert decide(_with(later, context_stored=True), SETTINGS) is Look.POD


@pytest.mark.parametrize("stored", [True, False])
def test_one_that_has_no_turn_waits_with_its_context_stored(stored: bool) -> None:
    own = waiting(1, None, 0)
    full = _with(observed(own, [], PLACES), context_stored=stored, waiting=None)
    found = decide(
        _with(full, pod=ObservedPod(pod(), node()), destination=ObservedDestination()), SETTINGS
    )
    if stored:
        assert isinstance(found, RequeueAfter)
    else:
        assert isinstance(found, Wait) and found.store_context


def _with(it: Observed, **more: object) -> Observed:
    return replace(it, **more)  # type: ignore[arg-type] # fields by name
