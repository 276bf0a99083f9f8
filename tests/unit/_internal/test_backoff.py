"""Pauses grow, are jittered, and end at a maximum."""

from __future__ import annotations

from forensics_core._internal.backoff import Backoff


def test_each_step_doubles_up_to_the_maximum() -> None:
    backoff = Backoff(initial=1, maximum=8)
    for step in (1, 2, 4, 8, 8, 8):
        assert step / 2 <= backoff.next() <= step


def test_pauses_differ() -> None:
    assert len({Backoff().next() for _ in range(20)}) > 1


def test_what_the_server_asked_for_comes_on_top() -> None:
    assert 10.5 <= Backoff(initial=1).next(10) <= 11


def test_after_a_success_it_begins_anew() -> None:
    backoff = Backoff(initial=1)
    backoff.next()
    backoff.next()
    backoff.reset()
    assert backoff.next() <= 1


def test_it_can_fail_for_ever() -> None:
    backoff = Backoff(initial=1, maximum=30)
    backoff.failures = 10_000
    assert backoff.next() <= 30


def test_the_shortest_pause_can_stay_far_below_the_step() -> None:
    backoff = Backoff(initial=8, maximum=8, least=0.5)
    pauses = [backoff.next() for _ in range(200)]
    assert min(pauses) >= 0.5 and max(pauses) <= 8
    assert min(pauses) < 4  # 200 pauses between 0.5 and 8 that are all longer: once in 2**172
