"""Every event that a rule can have: it makes one capture of the pod, and the status tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from forensics_core.api.names import (
    CAPTURE_ANNOTATION,
    EVENT_LABEL,
    EXPECTED_POD_UID_ANNOTATION,
    REQUESTED_BY_ANNOTATION,
    RULE_LABEL,
)
from forensics_loopback import LoopbackCluster
from tests.integration.operator.rules.acting import (
    Acting,
    active,
    change_container,
    crashed,
    ended,
)


def annotate(cluster: LoopbackCluster) -> None:
    change = {"metadata": {"annotations": {CAPTURE_ANNOTATION: "odd traffic"}}}
    cluster.patch("pods", "web-0", change, "default")


def run_out_of_memory(cluster: LoopbackCluster) -> None:
    change_container(cluster, "web-0", {"state": ended("OOMKilled", 137)})


def fail(cluster: LoopbackCluster) -> None:
    change_container(cluster, "web-0", {"state": ended("Error")})
    cluster.patch("pods", "web-0", {"status": {"phase": "Failed"}}, "default")


def evict_and_forget(cluster: LoopbackCluster) -> None:
    # As older kubelets do: the status that says why replaces all that it said before.
    status = {"phase": "Failed", "reason": "Evicted", "containerStatuses": None}
    cluster.patch("pods", "web-0", {"status": status}, "default")


def delete(cluster: LoopbackCluster) -> None:
    # A pod that somebody holds goes through its deletion; one that a test made is gone at once.
    cluster.patch("pods", "web-0", {"metadata": {"finalizers": ["example.com/held"]}}, "default")
    cluster.delete("pods", "web-0", "default")


HAPPENS: dict[str, tuple[Callable[[LoopbackCluster], Any], str]] = {
    "Annotated": (annotate, "Annotated: odd traffic"),
    "CrashLoop": (lambda it: crashed(it, "web-0"), "CrashLoop: container app, restarts 3, Error 1"),
    "OOMKilled": (run_out_of_memory, "OOMKilled: container app, restarts 0"),
    "Failed": (fail, "Failed: the pod has failed"),
    "Evicted": (lambda it: it.evict("web-0"), "Evicted: "),
    "Deleted": (delete, "Deleted: it is being deleted"),
}


async def test_an_evicted_pod_is_captured_though_its_containers_are_told_of_no_more(
    acting: Acting,
) -> None:
    acting.rule("dying", "Evicted")
    async with acting.working() as rules:
        await acting.begun(rules)
        evict_and_forget(acting.cluster)
        await acting.captures(1)


@pytest.mark.parametrize("event", HAPPENS)
async def test_what_happens_to_a_pod_makes_one_capture_that_says_why(
    acting: Acting, event: str
) -> None:
    happen, reason = HAPPENS[event]
    uid = acting.cluster.get("pods", "web-0", "default")["metadata"]["uid"]
    acting.rule("dying", event, template={"incident": "INC-1", "artifacts": ["logs"]})
    async with acting.working() as rules:
        await acting.begun(rules)
        happen(acting.cluster)
        (capture,) = await acting.captures(1)
        status = await acting.captured(1)
    metadata, spec = capture["metadata"], capture["spec"]
    assert metadata["labels"][RULE_LABEL] == "dying"
    assert metadata["labels"][EVENT_LABEL] == event
    assert metadata["annotations"][EXPECTED_POD_UID_ANNOTATION] == uid
    assert metadata["annotations"][REQUESTED_BY_ANNOTATION] == "admin"
    assert (spec["pod"], spec["namespace"]) == ("web-0", "default")
    assert (spec["incident"], spec["artifacts"]) == ("INC-1", ["logs"])
    assert spec["reason"].startswith(reason)
    assert spec["reason"].endswith("(rule dying)")
    assert status["lastCaptures"][0]["checkpoint"] == metadata["name"]
    assert status["lastTriggered"]


async def test_the_events_of_rule_and_pod_tell_of_the_capture(acting: Acting) -> None:
    acting.rule("dying", "Annotated")
    async with acting.working() as rules:
        await acting.begun(rules)
        annotate(acting.cluster)
        await acting.captured(1)
    found = [event for event in acting.cluster.list("events") if event["reason"] == "Captured"]
    about = {(event["involvedObject"]["kind"], event["metadata"]["namespace"]) for event in found}
    assert about == {("CaptureRule", "forensics-system"), ("Pod", "default")}


async def test_a_restart_captures_nothing_again(acting: Acting) -> None:
    acting.rule("dying", *HAPPENS, limits={"perPod": 5}, dedupeSeconds=0)
    async with acting.working() as rules:
        await acting.begun(rules)
        annotate(acting.cluster)
        crashed(acting.cluster, "web-0")
        before = await acting.captured(2)
    async with acting.working() as rules:
        acting.cluster.seed_pod("web-1")
        crashed(acting.cluster, "web-1")
        after = await acting.captured(3)
    assert [one["pod"] for one in after["lastCaptures"]] == ["web-1", "web-0", "web-0"]
    assert after["lastCaptures"][1:] == before["lastCaptures"]
    assert len(acting.cluster.list("podcheckpoints")) == 3


async def test_nor_does_it_where_the_checkpoints_are_gone_by_then(acting: Acting) -> None:
    acting.rule("dying", "Annotated", "CrashLoop")
    async with acting.working() as rules:
        await acting.begun(rules)
        annotate(acting.cluster)
        await acting.captured(1)
    for capture in list(acting.cluster.list("podcheckpoints")):
        place = capture["metadata"]["name"], "forensics-system"
        free = {"metadata": {"finalizers": None}}
        acting.cluster.patch("podcheckpoints", place[0], free, place[1])
        acting.cluster.delete("podcheckpoints", *place)
    async with acting.working() as rules:
        acting.cluster.seed_pod("web-1")
        crashed(acting.cluster, "web-1")
        await acting.captured(2)
    assert [one["spec"]["pod"] for one in acting.cluster.list("podcheckpoints")] == ["web-1"]


async def test_what_happened_before_the_rule_is_history_but_a_wish_stands(acting: Acting) -> None:
    long_ago = "2020-01-01T00:00:00Z"
    acting.cluster.seed_pod("old-0")
    crashed(acting.cluster, "old-0", lastState=ended("OOMKilled", at=long_ago))
    annotate(acting.cluster)
    async with acting.working():
        acting.rule("dying", "OOMKilled", "CrashLoop", "Annotated")
        status = await acting.captured(1)
        assert [one["pod"] for one in status["lastCaptures"]] == ["web-0"]
        crashed(acting.cluster, "old-0", restarts=4)
        status = await acting.captured(2)
    assert status["lastCaptures"][0]["pod"] == "old-0"


async def test_a_changed_rule_does_not_take_what_was_before_for_news(acting: Acting) -> None:
    acting.rule("dying", "CrashLoop", dryRun=True)
    async with acting.working() as rules:
        await acting.begun(rules)
        crashed(acting.cluster, "web-0", lastState=ended("Error", at="2020-01-01T00:00:00Z"))
        await acting.captured(1)
        assert not acting.cluster.list("podcheckpoints")
        change = {"spec": {"dryRun": False}, "metadata": {"generation": 2}}
        acting.cluster.patch("capturerules", "dying", change, "forensics-system")
        await acting.told(lambda status: active(status) == "Watching")
        acting.cluster.seed_pod("web-1")
        crashed(acting.cluster, "web-1")
        await acting.captures(1)
    pods = [one["spec"]["pod"] for one in acting.cluster.list("podcheckpoints")]
    assert pods == ["web-1"]


async def test_a_rule_that_is_deleted_lets_its_captures_run(acting: Acting) -> None:
    acting.rule("dying", "Annotated")
    async with acting.working() as rules:
        await acting.begun(rules)
        annotate(acting.cluster)
        await acting.captured(1)
        acting.cluster.delete("capturerules", "dying", "forensics-system")
        acting.rule("next", "CrashLoop")
        await acting.begun(rules, "next")
        acting.cluster.seed_pod("web-1")
        crashed(acting.cluster, "web-1")
        captures = await acting.captures(2)
    assert {one["metadata"]["labels"][RULE_LABEL] for one in captures} == {"dying", "next"}
    assert not any(one["metadata"].get("deletionTimestamp") for one in captures)


async def test_a_pod_that_is_gone_at_once_is_told_of(acting: Acting) -> None:
    acting.rule("dying", "Deleted")
    async with acting.working() as rules:
        await acting.begun(rules)
        acting.cluster.delete("pods", "web-0", "default")
        status = await acting.held("PodGone")
    assert status["heldBack"]["last"][0]["pod"] == "web-0"
    assert not acting.cluster.list("podcheckpoints")


async def test_the_watch_of_pods_ends_with_the_last_rule_and_begins_anew(acting: Acting) -> None:
    async with acting.working() as rules:
        acting.rule("first", "CrashLoop")
        await acting.begun(rules, "first")
        acting.cluster.delete("capturerules", "first", "forensics-system")
        acting.rule("second", "CrashLoop")
        await acting.begun(rules, "second")
        crashed(acting.cluster, "web-0")
        await acting.captured(1, "second")
