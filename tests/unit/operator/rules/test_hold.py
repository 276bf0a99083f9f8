"""Which pods are held and freed: never too long, and never too short."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forensics_core.api.capturerule import CaptureRuleSpec
from forensics_core.api.names import HOLD_FINALIZER, HOLD_LABEL
from forensics_core.operator.rules.facts import PodFacts
from forensics_core.operator.rules.hold import Free, Hold, holds, over_at, wants_hold
from tests.unit.operator.rules.pods import NOW, at, pod, rule

DELETED: dict[str, Any] = {"deletionTimestamp": at(30), "deletionGracePeriodSeconds": 30}
"""Asked for now."""


def spec(seconds: int = 120, **more: Any) -> CaptureRuleSpec:
    """Return the spec of a rule that holds."""
    wanted = {"hold": True, "holdSeconds": seconds, **more}
    return rule("hold", "Deleted", **wanted).rule.spec


def held(mark: str | None = "120", *, on: bool = True, **metadata: Any) -> PodFacts:
    """Return a pod that is held, or only marked."""
    labels = {} if mark is None else {HOLD_LABEL: mark}
    finalizers = [HOLD_FINALIZER] if on else []
    return pod(metadata={"labels": labels, "finalizers": finalizers, **metadata})


def step(
    one: PodFacts, *specs: CaptureRuleSpec, awaited: bool = False, now: float = NOW
) -> Hold | Free | None:
    """Return what is to be done about one pod."""
    return next(holds([one], specs, lambda _: awaited, now), None)


def test_a_pod_that_a_rule_matches_is_held_and_marked_with_the_seconds() -> None:
    assert step(pod(), spec(60)) == Hold(pod(), 60)
    assert step(held("60"), spec(60)) is None


def test_a_static_pod_is_not_held() -> None:
    owner = {"kind": "Node", "name": "node1", "controller": True}
    assert step(pod(metadata={"ownerReferences": [owner]}), spec()) is None


def test_of_two_rules_the_longer_hold_counts() -> None:
    assert step(pod(), spec(60), spec(90)) == Hold(pod(), 90)


def test_other_seconds_are_written_and_a_finalizer_or_label_that_is_lost_comes_back() -> None:
    for one in (held("60"), held("120", on=False), held(None)):
        assert step(one, spec(120)) == Hold(one, 120)


@pytest.mark.parametrize(
    "without",
    [
        [],
        [spec(dryRun=True)],
        [spec(hold=False)],
        [spec(namespaces=["other"])],
        [spec(selector={"matchLabels": {"app": "db"}})],
    ],
)
def test_a_pod_that_no_rule_holds_any_more_is_freed(without: list[CaptureRuleSpec]) -> None:
    assert step(held(), *without) == Free(held())
    assert step(held(on=False), *without) == Free(held(on=False))
    assert step(pod(), *without) is None


def test_a_rule_holds_for_deletions_only() -> None:
    assert wants_hold(spec())
    assert not wants_hold(spec().model_copy(update={"events": ()}))


def test_a_deleted_pod_waits_for_its_capture_also_where_its_rule_is_gone() -> None:
    deleted = held(**DELETED)
    assert step(deleted, awaited=True) is None
    assert step(deleted, spec(), awaited=True) is None
    assert step(deleted, spec()) == Free(deleted)


def test_a_deleted_pod_is_free_once_its_time_is_over_whatever_its_grace_period() -> None:
    deleted = held("10", **DELETED)
    assert over_at(deleted) == NOW + 10
    assert step(deleted, spec(600), awaited=True, now=NOW + 9.9) is None
    assert step(deleted, spec(600), awaited=True, now=NOW + 10) == Free(deleted)


def test_a_pod_that_is_being_deleted_cannot_be_held_any_more() -> None:
    deleted = pod(metadata=DELETED)
    assert step(deleted, spec(), awaited=True) is None
    assert over_at(deleted) is None
    assert over_at(held()) is None


MARKS = st.sampled_from([None, "", "0", "1", "120", "600", "601", "9" * 30, "-1", "soon", "٣"])


@given(
    mark=MARKS,
    since=st.integers(-2000, 2000),
    grace=st.sampled_from([None, 0, 30, 86400]),
    seconds=st.integers(1, 600),
    awaited=st.booleans(),
    rules=st.booleans(),
)
def test_no_hold_outlasts_its_time_and_none_ends_before_the_capture_did(
    mark: str | None, since: int, grace: int | None, seconds: int, awaited: bool, rules: bool
) -> None:
    ending: dict[str, Any] = {"deletionTimestamp": at((grace or 0) - since)}
    if grace is not None:
        ending["deletionGracePeriodSeconds"] = grace
    deleted = held(mark, **ending)
    found = step(deleted, *([spec(seconds)] if rules else []), awaited=awaited)
    end = over_at(deleted)
    assert end is not None
    assert end <= NOW - since + 600
    freed = isinstance(found, Free)
    assert freed == (not awaited or end <= NOW)
    assert freed or since < 600


@given(mark=MARKS, on=st.booleans(), specs=st.lists(st.builds(spec, st.integers(1, 600))))
def test_what_is_done_is_done_once(
    mark: str | None, on: bool, specs: list[CaptureRuleSpec]
) -> None:
    before = held(mark, on=on)
    found = step(before, *specs)
    if isinstance(found, Hold):
        assert specs
        after = held(str(found.seconds))
    elif isinstance(found, Free):
        assert not specs
        after = pod()
    else:
        after = before
    assert step(after, *specs) is None
