"""Which rules capture a pod for what has happened to it, and what they hold back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forensics_core.api.capturerule import AlertFilter, AlertPriority
from forensics_core.operator.rules.facts import Alert, PodFacts
from forensics_core.operator.rules.happenings import happenings, news
from forensics_core.operator.rules.history import CaptureHistory, PastCapture
from forensics_core.operator.rules.outcomes import ActiveRule, HeldBack, HeldReason, Trigger
from forensics_core.operator.rules.triggers import (
    at_first_look,
    fits,
    of_alert,
    refused,
    triggers,
    vanished,
)
from tests.unit.operator.rules.pods import (
    NOW,
    container,
    looping,
    pod,
    pods,
    rule,
    rules,
    terminated,
)

WISH = {"annotations": {"forensics.orkaproj.io/capture": "odd traffic"}}
FALCO = Alert("Terminal shell", AlertPriority.NOTICE, "shop", "web-0", ("shell",), "app4f", "app")


def decided(
    before: PodFacts | None,
    after: PodFacts,
    *active: ActiveRule,
    history: CaptureHistory | None = None,
) -> list[Trigger | HeldBack]:
    return triggers(before, after, active, history or CaptureHistory(), NOW)


def captured_by(*found: Trigger | HeldBack) -> list[str]:
    return [one.rule.name for one in found if isinstance(one, Trigger)]


def reasons(*found: Trigger | HeldBack) -> list[HeldReason]:
    return [one.reason for one in found if isinstance(one, HeldBack)]


@pytest.mark.parametrize(
    ("event", "after"),
    [
        ("Annotated", pod(metadata=WISH)),
        ("CrashLoop", pod("web-0", looping())),
        ("CrashLoop", pod("web-0", container(restartCount=2, lastState=terminated()))),
        ("OOMKilled", pod("web-0", container(state=terminated("OOMKilled", 137)))),
        ("OOMKilled", pod("web-0", container(lastState=terminated("OOMKilled", 137)))),
        ("Failed", pod(phase="Failed")),
        ("Evicted", pod(reason="Evicted")),
        ("Deleted", pod(metadata={"deletionTimestamp": "2027-01-15T08:00:00Z"})),
    ],
)
def test_each_event_is_a_reason_for_the_rules_that_name_it(event: str, after: PodFacts) -> None:
    others = {"Annotated", "CrashLoop", "OOMKilled", "Failed", "Evicted", "Deleted"} - {event}
    found = decided(pod(), after, rule("all", event), rule("others", *sorted(others)))
    assert captured_by(*found) == ["all"]
    (trigger,) = found
    assert isinstance(trigger, Trigger)
    assert trigger.happening.event == event
    assert trigger.reason.startswith(f"{event}: ")


@pytest.mark.parametrize(
    "after",
    [
        pod(),
        pod("web-0", container(restartCount=1, lastState=terminated())),
        pod("web-0", container(restartCount=9, lastState=terminated("Completed", 0))),
        pod("web-0", container(containerID=""), metadata=WISH),
    ],
)
def test_nothing_has_happened_to_a_pod_that_runs_restarted_once_or_never_ran(
    after: PodFacts,
) -> None:
    every = rule("all", "Annotated", "CrashLoop", "OOMKilled", "Failed", "Evicted", "Deleted")
    assert decided(pod(), after, every) == []


def test_an_annotation_of_a_pod_that_has_not_begun_counts_once_it_has() -> None:
    waiting = pod("web-0", container(containerID=""), metadata=WISH)
    begun = pod("web-0", container(), metadata=WISH)
    assert captured_by(*decided(waiting, begun, rule("dying", "Annotated"))) == ["dying"]


def test_what_was_so_before_is_no_news_but_the_next_crash_is() -> None:
    assert decided(pod("web-0", looping(3)), pod("web-0", looping(3)), rule()) == []
    assert decided(pod("web-0", looping(3)), pod("web-0", looping(4)), rule())


def test_a_container_that_starts_again_after_running_out_of_memory_is_no_second_time() -> None:
    ended = pod("web-0", container(state=terminated("OOMKilled", 137)))
    again = pod("web-0", container(lastState=terminated("OOMKilled", 137), restartCount=1))
    assert decided(ended, again, rule("dying", "OOMKilled")) == []


def test_another_pod_of_the_same_name_is_looked_at_as_a_whole() -> None:
    one, other = pod("web-0", looping(), uid="1"), pod("web-0", looping(), uid="2")
    assert captured_by(*decided(one, other, rule())) == ["dying"]


def test_of_several_happenings_the_one_that_says_most_is_the_event_and_all_are_told() -> None:
    dead = pod("web-0", looping(), metadata=WISH, phase="Failed")
    (trigger,) = decided(pod(), dead, rule("dying", "Failed", "CrashLoop", "Annotated"))
    assert isinstance(trigger, Trigger)
    assert trigger.happening.event == "Annotated"
    assert [part.split(":")[0] for part in trigger.reason.split("; ")] == [
        "Annotated",
        "CrashLoop",
        "Failed",
    ]


@pytest.mark.parametrize(
    ("when", "since", "news_to_it"),
    [(-10, -600, True), (-599, -600, True), (-602, -600, False), (-3700, -90000, False)],
)
def test_at_the_first_look_what_was_before_the_rule_or_an_hour_ago_is_history(
    when: float, since: float, news_to_it: bool
) -> None:
    old = pod("web-0", looping(when=when))
    assert bool(at_first_look(old, [rule(since=since)], CaptureHistory(), NOW)) is news_to_it
    assert bool(decided(None, old, rule(since=since))) is news_to_it


def test_what_is_seen_to_happen_is_news_whatever_the_nodes_clock_says() -> None:
    assert captured_by(*decided(pod(), pod("web-0", looping(when=-90000)), rule())) == ["dying"]


def test_an_annotation_stands_however_old_it_is() -> None:
    assert captured_by(*decided(None, pod(metadata=WISH), rule("dying", "Annotated"))) == ["dying"]


def test_of_two_rules_the_first_captures_and_the_other_says_so() -> None:
    found = decided(pod(), pod("web-0", looping()), rule("a"), rule("b"))
    assert captured_by(*found) == ["a"]
    assert reasons(*found) == [HeldReason.OTHER_RULE]


def test_a_capture_by_another_rule_stands_for_a_while() -> None:
    history = CaptureHistory()
    history.note(PastCapture("x", "forensics-system/other", "uid-web-0", NOW - 30, over=True))
    found = decided(pod(), pod("web-0", looping()), rule(), history=history)
    assert reasons(*found) == [HeldReason.OTHER_RULE]
    history.note(PastCapture("x", "forensics-system/other", "uid-web-0", NOW - 90, over=True))
    found = decided(pod(), pod("web-0", looping()), rule(), history=history)
    assert captured_by(*found) == ["dying"]


@pytest.mark.parametrize("namespaces", [["*"], ["noisy", "quiet"]])
def test_one_namespace_does_not_use_up_what_a_rule_may_capture_for_all(
    namespaces: list[str],
) -> None:
    history = CaptureHistory()
    active = rule(namespaces=namespaces, limits={"perHour": 5}, dedupeSeconds=0)
    found = [
        one for number in range(8) for one in decided_in("noisy", f"web-{number}", active, history)
    ]
    assert reasons(*found) == [HeldReason.PER_NAMESPACE] * 5
    held = next(one for one in found if isinstance(one, HeldBack))
    assert held.message == "3 of noisy within an hour: limits.perNamespace"
    for name in ("a", "b"):
        assert captured_by(*decided_in("quiet", name, active, history)) == ["dying"]
    assert reasons(*decided_in("quiet", "c", active, history)) == [HeldReason.PER_HOUR]


@pytest.mark.parametrize(
    ("namespaces", "limits", "share"),
    [
        (["shop"], {"perHour": 5}, 5),
        (["shop", "shop"], {"perHour": 5}, 5),
        (["shop", "till"], {"perHour": 1}, 1),
        (["*"], {}, 5),
        (["*"], {"perHour": 4, "perNamespace": 9}, 4),
        (["shop"], {"perNamespace": 2}, 2),
    ],
)
def test_the_share_of_a_namespace(
    namespaces: list[str], limits: dict[str, int], share: int
) -> None:
    assert rule(namespaces=namespaces, limits=limits).rule.spec.share == share


def decided_in(
    namespace: str, name: str, active: ActiveRule, history: CaptureHistory
) -> list[Trigger | HeldBack]:
    """Let a pod of that namespace crash; what is captured is remembered."""
    crashing = pod(name, looping(), metadata={"namespace": namespace})
    found = decided(pod(name, metadata={"namespace": namespace}), crashing, active, history=history)
    for one in found:
        if isinstance(one, Trigger):
            history.note(one.as_captured(NOW))
    return found


def test_annotations_of_two_pods_of_one_workload_are_two() -> None:
    history, active = CaptureHistory(), rule("dying", "Annotated")
    owner = {"ownerReferences": [{"kind": "Job", "name": "j", "controller": True}]}
    for name in ("a", "b"):
        (trigger,) = decided(None, pod(name, metadata=WISH | owner), active, history=history)
        assert isinstance(trigger, Trigger)
        history.note(trigger.as_captured(NOW))


def test_the_same_of_another_image_is_another_thing() -> None:
    history = CaptureHistory()
    owner: dict[str, Any] = {"ownerReferences": [{"kind": "Job", "name": "j", "controller": True}]}
    crashes = [
        pod("a", looping(), metadata=owner),
        pod("b", looping() | {"image": "app:2"}, metadata=owner),
        pod("c", looping(), metadata=owner),
    ]
    found = []
    for crash in crashes:
        (one,) = decided(None, crash, rule(), history=history)
        found.append(one)
        if isinstance(one, Trigger):
            history.note(one.as_captured(NOW))
    assert captured_by(*found) == ["dying", "dying"]
    assert reasons(found[2]) == [HeldReason.DUPLICATE]


def test_a_pod_that_is_gone_without_a_deletion_is_told_unless_it_was_captured() -> None:
    active = rule("dying", "Deleted")
    (held,) = vanished(
        pod(), [active, rule("other"), rule("far", "Deleted", namespaces=["x"])], CaptureHistory()
    )
    assert isinstance(held, HeldBack)
    assert held.reason is HeldReason.POD_GONE
    history = CaptureHistory()
    history.note(PastCapture("x", active.id, "uid-web-0", NOW))
    assert vanished(pod(), [active], history) == []
    going = pod(metadata={"deletionTimestamp": "2027-01-15T08:00:00Z"})
    assert vanished(going, [active], CaptureHistory()) == []
    assert vanished(pod("web-0", container(containerID="")), [active], CaptureHistory()) == []


@pytest.mark.parametrize(
    ("wanted", "fine"),
    [
        (None, True),
        (AlertFilter(), True),
        (AlertFilter(rules=("Terminal shell",)), True),
        (AlertFilter(rules=("Other",)), False),
        (AlertFilter(priority=AlertPriority.NOTICE), True),
        (AlertFilter(priority=AlertPriority.WARNING), False),
        (AlertFilter(tags=("net", "shell")), True),
        (AlertFilter(tags=("net",)), False),
        (AlertFilter(rules=("Terminal shell",), tags=("net",)), False),
    ],
)
def test_all_that_a_filter_of_alerts_has_must_fit(wanted: AlertFilter | None, fine: bool) -> None:
    assert fits(wanted, FALCO) is fine
    given = wanted.model_dump(mode="json", by_alias=True) if wanted else None
    found = of_alert(FALCO, pod(), [rule("dying", "Alert", alert=given)], CaptureHistory(), NOW)
    assert bool(captured_by(*found)) is fine


def test_an_alert_is_of_the_container_with_its_id() -> None:
    (trigger,) = of_alert(FALCO, pod(), [rule("dying", "Alert")], CaptureHistory(), NOW)
    assert isinstance(trigger, Trigger)
    assert (trigger.happening.container, trigger.happening.image) == ("app", "app:1")
    assert trigger.alert is FALCO
    assert trigger.reason == "Alert: Terminal shell (Notice) (rule dying)"


def test_an_alert_of_a_pod_that_is_not_there_is_told_to_the_rules_that_it_concerns() -> None:
    concerned = [rule("dying", "Alert"), rule("other"), rule("far", "Alert", namespaces=["x"])]
    (held,) = of_alert(FALCO, None, concerned, CaptureHistory(), NOW)
    assert isinstance(held, HeldBack)
    assert (held.rule.name, held.reason) == ("dying", HeldReason.NOT_FOUND)
    never = pod("web-0", container(containerID=""))
    assert reasons(*of_alert(FALCO, never, concerned, CaptureHistory(), NOW)) == [
        HeldReason.NEVER_RAN
    ]


def test_what_the_api_server_refuses_is_held_back_in_its_words() -> None:
    (trigger,) = decided(pod(), pod("web-0", looping()), rule())
    assert isinstance(trigger, Trigger)
    held = refused(trigger, "no right")
    assert (held.reason, held.message, held.pod) == (HeldReason.REFUSED, "no right", "web-0")


STEPS = st.lists(
    st.tuples(pods(), st.sampled_from([0.0, 1.0, 59.0, 600.0, 4000.0])), min_size=1, max_size=15
)


def play(
    steps: list[tuple[PodFacts, float]], active: list[ActiveRule], history: CaptureHistory
) -> list[Trigger]:
    """Show pods to the rules, one after the other; return what they capture, with its time."""
    known: dict[str, PodFacts] = {}
    now, found = NOW, []
    for after, pause in steps:
        now += pause
        for one in triggers(known.get(after.uid), after, active, history, now):
            if isinstance(one, Trigger):
                history.note(one.as_captured(now))
                found.append((one, now))
        known[after.uid] = after
    check(found)
    return [one for one, _ in found]


def check(found: list[tuple[Trigger, float]]) -> None:
    names: set[str] = set()
    for number, (one, now) in enumerate(found):
        spec = one.rule.rule.spec
        own = [(other, when) for other, when in found[: number + 1] if other.rule.id == one.rule.id]
        assert one.happening.event in spec.events
        assert sum(other.pod.uid == one.pod.uid for other, _ in own) <= spec.limits.per_pod
        assert sum(when > now - 3600 for _, when in own) <= spec.limits.per_hour
        hour = [other.pod for other, when in own if when > now - 3600]
        assert sum(each.namespace == one.pod.namespace for each in hour) <= spec.share
        same = [when for other, when in own[:-1] if other.key == one.key]
        assert all(when <= now - spec.dedupe_seconds for when in same)
        if not spec.dry_run:
            assert one.name not in names
            names.add(one.name)


@given(steps=STEPS, active=rules())
@settings(max_examples=60)
def test_whatever_happens_no_limit_is_passed_and_nothing_is_captured_twice(
    steps: list[tuple[PodFacts, float]], active: list[ActiveRule]
) -> None:
    play(steps, active, CaptureHistory())


@given(steps=STEPS, active=rules())
@settings(max_examples=40)
def test_whoever_begins_again_with_the_same_memory_captures_nothing_that_was(
    steps: list[tuple[PodFacts, float]], active: list[ActiveRule]
) -> None:
    history = CaptureHistory()
    first = {(one.name, one.rule.id) for one in play(steps, active, history)}
    now = NOW + sum(pause for _, pause in steps)
    again = [
        one
        for after, _ in steps
        for one in at_first_look(after, active, history, now)
        if isinstance(one, Trigger)
    ]
    assert not {(one.name, one.rule.id) for one in again} & first


@given(before=pods(), after=pods())
def test_news_is_what_is_so_now_and_was_not_before(before: PodFacts, after: PodFacts) -> None:
    found = {one.identity for one in news(before, after)}
    now = {one.identity for one in happenings(after)}
    was = {one.identity for one in happenings(before)} if before.uid == after.uid else set()
    assert found == now - was
