"""What rules hold back, and that they say so; and what keeps a rule from being acted on."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from forensics_core.api.capturerule import TriggerEvent
from forensics_core.operator.rules.facts import Happening, facts_of
from forensics_core.operator.rules.triggers import capture_name
from forensics_loopback import Fault
from tests.integration.operator.rules.acting import (
    KINDS,
    SOON,
    Acting,
    Document,
    active,
    crashed,
    open_acting,
    reasons,
)


def owner(acting: Acting) -> Document:
    """Create what pods can be of, and return their metadata."""
    made = acting.cluster.create(
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {"name": "loop", "namespace": "default"},
            "spec": {"replicas": 0},
        }
    )
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "loop", "controller": True}
    return {"ownerReferences": [reference | {"uid": made["metadata"]["uid"]}]}


async def test_one_pod_is_captured_once_however_often_it_crashes(acting: Acting) -> None:
    acting.rule("dying", "CrashLoop", dedupeSeconds=0)
    async with acting.working() as rules:
        await acting.begun(rules)
        crashed(acting.cluster, "web-0", restarts=3)
        await acting.captured(1)
        crashed(acting.cluster, "web-0", restarts=4)
        status = await acting.held("PerPod")
    assert len(acting.cluster.list("podcheckpoints")) == 1
    last = status["heldBack"]["last"][0]
    assert (last["namespace"], last["pod"], last["event"]) == ("default", "web-0", "CrashLoop")
    assert status["heldBack"]["total"] == 1


async def test_a_capture_whose_name_somebody_took_is_told_not_to_be_one(acting: Acting) -> None:
    facts = facts_of(acting.cluster.get("pods", "web-0", "default"))
    third = Happening(TriggerEvent.CRASH_LOOP, "3", None, "", "app")
    taken = {"name": capture_name(facts, third), "namespace": "forensics-system"}
    acting.cluster.create(
        {
            "apiVersion": "forensics.orkaproj.io/v1alpha1",
            "kind": "PodCheckpoint",
            "metadata": taken,
            "spec": {"pod": "another", "namespace": "default"},
        }
    )
    acting.rule("dying", "CrashLoop")
    async with acting.working() as rules:
        await acting.begun(rules)
        crashed(acting.cluster, "web-0", restarts=3)
        status = await acting.held("Refused")
    assert taken["name"] in status["heldBack"]["last"][0]["message"]
    assert status.get("captured", 0) == 0


async def test_of_pods_recreated_faster_than_captured_one_is_captured(acting: Acting) -> None:
    acting.rule("dying", "CrashLoop")
    async with acting.working() as rules:
        await acting.begun(rules)
        metadata = owner(acting)
        for number in range(10):
            acting.cluster.seed_pod(f"job-{number}", metadata=metadata)
            crashed(acting.cluster, f"job-{number}")
            acting.cluster.delete("pods", f"job-{number}", "default")
        acting.cluster.seed_pod("job-last", metadata=metadata)
        crashed(acting.cluster, "job-last")
        await acting.told(lambda found: reasons(found).get("Duplicate", 0) >= 1)
        status = await acting.captured(1)
    assert len(acting.cluster.list("podcheckpoints")) == 1
    assert status["captured"] == 1


async def test_a_capture_that_came_to_nothing_keeps_nobody_from_another(acting: Acting) -> None:
    acting.rule("dying", "CrashLoop")
    async with acting.working() as rules:
        await acting.begun(rules)
        metadata = owner(acting)
        for name in ("job-0", "job-1"):
            acting.cluster.seed_pod(name, metadata=metadata)
        crashed(acting.cluster, "job-0")
        (first,) = await acting.captures(1)
        await acting.captured(1)
        gone = {"type": "Failed", "status": "True", "reason": "PodGone", "message": ""}
        at = {"lastTransitionTime": first["metadata"]["creationTimestamp"]}
        change = {"status": {"phase": "Failed", "conditions": [gone | at]}}
        acting.cluster.patch(
            "podcheckpoints", first["metadata"]["name"], change, "forensics-system"
        )
        restarts = 3
        while len(acting.cluster.list("podcheckpoints")) < 2:
            restarts += 1
            crashed(acting.cluster, "job-1", restarts=restarts)
            await anyio.sleep(0.02)
        await acting.captured(2)


async def test_a_flood_of_pods_is_bounded_by_the_hour(acting: Acting) -> None:
    acting.rule("dying", "CrashLoop", limits={"perHour": 3}, dedupeSeconds=0)
    async with acting.working() as rules:
        await acting.begun(rules)
        for number in range(1, 31):
            acting.cluster.seed_pod(f"web-{number}")
            crashed(acting.cluster, f"web-{number}")
        status = await acting.told(lambda found: reasons(found).get("PerHour", 0) == 27)
    assert len(acting.cluster.list("podcheckpoints")) == 3
    assert status["heldBack"]["total"] == 27
    assert len(status["heldBack"]["last"]) == 5


async def test_two_rules_for_one_pod_make_one_capture(acting: Acting) -> None:
    acting.rule("a", "CrashLoop")
    acting.rule("b", "CrashLoop", "OOMKilled")
    async with acting.working() as rules:
        await acting.begun(rules, "a")
        await acting.begun(rules, "b")
        crashed(acting.cluster, "web-0")
        await acting.captured(1, "a")
        await acting.held("OtherRule", "b")
    assert len(acting.cluster.list("podcheckpoints")) == 1


async def test_a_dry_run_only_tells(acting: Acting) -> None:
    acting.rule("dying", "CrashLoop", dryRun=True)
    async with acting.working() as rules:
        status = await acting.begun(rules)
        assert active(status) == "DryRun"
        crashed(acting.cluster, "web-0")
        status = await acting.captured(1)
    assert status["lastCaptures"][0]["dryRun"] is True
    assert not acting.cluster.list("podcheckpoints")
    told = {event["reason"] for event in acting.cluster.list("events")}
    assert told == {"WouldCapture"}


async def test_only_what_a_rule_selects_is_captured(acting: Acting) -> None:
    acting.rule("dying", "CrashLoop", selector={"matchLabels": {"app": "web"}})
    acting.cluster.seed_pod("other", "shop", metadata={"labels": {"app": "web"}})
    acting.cluster.seed_pod("api")
    acting.cluster.seed_pod("web-1", metadata={"labels": {"app": "web"}})
    async with acting.working() as rules:
        await acting.begun(rules)
        for name in ("api", "web-0", "web-1"):
            crashed(acting.cluster, name)
        await acting.captured(1)
    assert [one["spec"]["pod"] for one in acting.cluster.list("podcheckpoints")] == ["web-1"]


@pytest.mark.parametrize(
    ("settings", "template", "reason"),
    [
        ({}, {"destination": "s3://elsewhere"}, "DestinationNotAllowed"),
        ({"defaultDestination": None}, {}, "NoDestination"),
    ],
)
async def test_a_rule_whose_evidence_may_go_nowhere_is_not_acted_on(
    tmp_path: Path, settings: dict[str, object], template: dict[str, str], reason: str
) -> None:
    async with open_acting(tmp_path, **settings) as acting:
        acting.rule("dying", "CrashLoop", template=template)
        acting.rule("fine", "CrashLoop", template={"destination": "s3://cases/here"})
        async with acting.working() as rules:
            status = await acting.begun(rules)
            await acting.begun(rules, "fine")
            crashed(acting.cluster, "web-0")
            await acting.captured(1, "fine")
    assert active(status) == reason
    assert acting.status().get("captured", 0) == 0


async def test_a_rule_of_alerts_alone_says_where_nobody_takes_them(acting: Acting) -> None:
    acting.rule("dying", "Alert")
    async with acting.working() as rules:
        status = await acting.begun(rules)
    assert active(status) == "AlertsOff"
    assert "deploy/overlays/alerts" in status["conditions"][0]["message"]


async def test_without_the_right_to_watch_pods_a_rule_names_the_overlay(acting: Acting) -> None:
    acting.cluster.faults.add(Fault("list", "pods", status=403, times=2))
    acting.rule("dying", "CrashLoop")
    crashed(acting.cluster, "web-0")
    async with acting.working():
        status = await acting.told(lambda found: active(found) == "OverlayMissing")
        assert "deploy/overlays/rules" in status["conditions"][0]["message"]
        await acting.told(lambda found: active(found) == "Watching")
        await acting.captured(1)


async def test_no_rule_is_called_active_before_it_is_known_whether_pods_can_be_watched(
    acting: Acting,
) -> None:
    patient = acting.settings.timings.model_copy(update={"overlay": timedelta(hours=1)})
    acting.settings = acting.settings.model_copy(update={"timings": patient})
    acting.cluster.faults.add(Fault("list", "pods", status=403))
    acting.rule("dying", "CrashLoop")
    async with acting.working():
        status = await acting.told(active)
    assert active(status) == "OverlayMissing"


async def test_a_capture_that_is_refused_is_told_and_tried_with_the_next_crash(
    acting: Acting,
) -> None:
    body = {"kind": "Status", "reason": "Forbidden", "message": "no right", "code": 403}
    acting.cluster.faults.add(Fault("create", "podcheckpoints", status=403, body=str(body)))
    acting.rule("dying", "CrashLoop")
    async with acting.working() as rules:
        await acting.begun(rules)
        crashed(acting.cluster, "web-0")
        status = await acting.held("Refused")
        assert status["captured"] == 0
        crashed(acting.cluster, "web-0", restarts=4)
        await acting.captured(1)


async def test_while_the_api_server_is_away_a_capture_waits(acting: Acting) -> None:
    acting.cluster.faults.add(Fault("create", "podcheckpoints", status=500, times=2))
    acting.rule("dying", "CrashLoop")
    async with acting.working() as rules:
        await acting.begun(rules)
        crashed(acting.cluster, "web-0")
        await acting.captured(1)
    assert len(acting.cluster.list("podcheckpoints")) == 1


async def test_what_was_asked_for_before_a_crash_is_found_made(acting: Acting) -> None:
    # Executed, but the answer was lost: as if the leader had died between the two.
    acting.cluster.faults.add(Fault("create", "podcheckpoints", status=500, executed=True))
    acting.rule("dying", "CrashLoop")
    async with acting.working() as rules:
        await acting.begun(rules)
        crashed(acting.cluster, "web-0")
        await acting.captured(1)
    assert len(acting.cluster.list("podcheckpoints")) == 1


async def test_counts_survive_a_status_that_somebody_else_changed(acting: Acting) -> None:
    acting.rule("dying", "CrashLoop", dedupeSeconds=0)
    acting.cluster.faults.add(Fault("patch", "capturerules/status", status=409, times=2))
    async with acting.working() as rules:
        await acting.begun(rules)
        crashed(acting.cluster, "web-0")
        await acting.captured(1)


async def test_without_the_kind_no_pod_is_watched_and_once_it_is_there_rules_work(
    acting: Acting, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    acting.cluster.delete("customresourcedefinitions", "capturerules.forensics.orkaproj.io")
    async with acting.working() as rules:
        with anyio.fail_after(SOON):
            while "not acted on" not in caplog.text:  # noqa: ASYNC110 # nobody tells
                await anyio.sleep(0.01)
        # Held pods are looked for once, by their label: rules may have gone while nobody was there.
        assert "watch pods" not in acting.cluster.records.counts()
        acting.cluster.create(KINDS[1])
        acting.rule("dying", "CrashLoop")
        await acting.begun(rules)


async def test_a_status_that_cannot_be_written_is_written_later(acting: Acting) -> None:
    acting.cluster.faults.add(Fault("patch", "capturerules/status", status=500, times=2))
    acting.rule("dying", "CrashLoop")
    async with acting.working() as rules:
        await acting.begun(rules)
        crashed(acting.cluster, "web-0")
        await acting.captured(1)


async def test_a_rule_of_a_later_release_is_not_acted_on_and_its_events_say_so(
    acting: Acting,
) -> None:
    acting.rule("dying", "CrashLoop")
    acting.rule("later", "CrashLoop")
    change = {"spec": {"events": ["Sneezed"]}}
    acting.cluster.patch("capturerules", "later", change, "forensics-system")
    async with acting.working() as rules:
        await acting.begun(rules)
        with anyio.fail_after(SOON):
            await acting.cluster.until(
                "events", lambda found: [one for one in found if one["reason"] == "Invalid"]
            )
        acting.cluster.delete("capturerules", "later", "forensics-system")
        crashed(acting.cluster, "web-0")
        await acting.captured(1)
    assert active(acting.status("dying")) == "Watching"


async def test_of_several_rules_one_can_go_while_others_work_on(acting: Acting) -> None:
    acting.rule("a", "CrashLoop")
    acting.rule("b", "CrashLoop")
    async with acting.working() as rules:
        await acting.begun(rules, "a")
        await acting.begun(rules, "b")
        acting.cluster.delete("capturerules", "a", "forensics-system")
        acting.cluster.seed_pod("web-1")
        crashed(acting.cluster, "web-1")
        await acting.captured(1, "b")
