"""From a command to the evidence's place: what the channel sees of a checkpoint."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lab.slack.faults import SlackFault
from lab.slack.rates import BURST, Rates
from lab.slack.workspace import PostedMessage
from tests.integration.slackbot.scene import (
    INCIDENT,
    Scene,
    captured,
    condition,
    failed,
    running,
)


async def test_a_command_creates_a_checkpoint_with_its_requester(scene: Scene) -> None:
    async with scene.bot():
        answer = await scene.alice.ask('web-0 -n shop --reason "odd traffic" --incident INC-7')
        (made,) = await scene.made()
    assert "Asked for" in answer.text
    expected = {"pod": "web-0", "namespace": "shop", "reason": "odd traffic", "incident": "INC-7"}
    assert made["spec"] == made["spec"] | expected
    annotations = made["metadata"]["annotations"]
    assert annotations["forensics.orkaproj.io/requested-by"] == "alice"
    assert annotations["forensics.orkaproj.io/slack-channel"] == INCIDENT
    assert made["metadata"]["labels"]["forensics.orkaproj.io/incident"] == "INC-7"


async def test_edits_one_message_and_posts_milestones_to_its_thread(scene: Scene) -> None:
    async with scene.bot():
        await scene.alice.ask("web-0 -n shop")
        (made,) = await scene.made()
        name = made["metadata"]["name"]
        scene.progress(name, **running())
        root = await scene.shown("2 of 9 artifacts, 5.0 MiB read, 1.0 MiB stored")
        assert set(root.buttons()) == {"cancel"}
        scene.progress(name, **captured(name))
        await scene.shown("Captured: you may kill the pod now. 9 artifacts, 1.0 MiB.", thread=True)
        scene.finish(name)
        end = await scene.shown("The bundle is sealed.", thread=True)
    (only,) = scene.slack.workspace.roots()
    assert only is root
    assert "As alice" in only.everything()
    assert "complete" in only.everything()
    assert f"s3://cases/forensics/{name}/" in only.everything()
    assert set(only.buttons()) == {"retry"}
    lines = scene.slack.workspace.thread(root)
    assert [line.broadcast for line in lines] == [False, False, True]
    assert "Attempt 1 has begun on node node1" in lines[0].text
    assert "ab" * 32 in end.everything()
    assert "none asked" in end.everything()


async def test_a_failure_shows_its_reason_and_can_be_retried(scene: Scene) -> None:
    async with scene.bot():
        await scene.alice.ask("web-0 -n shop -c app")
        (made,) = await scene.made()
        scene.progress(made["metadata"]["name"], **failed("NoDestination", "Set a destination"))
        line = await scene.shown("Failed: NoDestination. Set a destination", thread=True)
        assert line.broadcast
        root = await scene.shown("NoDestination: Set a destination")
        await scene.alice.click(root, "retry")
        both = await scene.made(2)
    assert [one["spec"]["containers"] for one in both] == [["app"], ["app"]]


async def test_a_partial_capture_shows_what_is_missing(scene: Scene) -> None:
    async with scene.bot():
        await scene.alice.ask("web-0 -n shop")
        (made,) = await scene.made()
        name = made["metadata"]["name"]
        gap = condition("Partial", "NotSupported", "Not captured: memory")
        scene.finish(name, conditions=[*captured(name)["conditions"], gap], sealed=False)
        line = await scene.shown("Not captured: memory", thread=True)
        await scene.shown("complete, in part")
        await scene.posted("attempt-1,captured,complete")
    assert "not sealed" in line.text


async def test_cancel_stops_the_capture_after_confirmation(scene: Scene) -> None:
    async with scene.bot():
        await scene.alice.ask("web-0 -n shop")
        (made,) = await scene.made()
        scene.progress(made["metadata"]["name"], **running())
        root = await scene.shown("2 of 9 artifacts")
        assert "cannot be resumed" in root.buttons()["cancel"]["confirm"]["text"]["text"]
        answer = await scene.alice.click(root, "cancel")
        await scene.slack.workspace.until(lambda: not root.buttons())
    assert "Cancelling" in answer.text
    assert scene.checkpoints()[0]["spec"]["cancel"] is True


async def test_german_users_get_german_messages(scene: Scene) -> None:
    async with scene.bot():
        answer = await scene.bob.ask("web-0 -n shop")
        (made,) = await scene.made()
        scene.finish(made["metadata"]["name"])
        await scene.shown("Der Pod darf jetzt beendet werden", thread=True)
        await scene.shown("Fertig: 9 Artefakte", thread=True)
        assert answer.text == f"Verlangt, als {made['metadata']['name']}. Weiter geht es im Kanal."


async def test_workspaces_without_plan_blocks_get_plain_lines(scene: Scene) -> None:
    scene.slack.workspace.plans = False
    async with scene.bot():
        await scene.alice.ask("web-0 -n shop")
        (made,) = await scene.made()
        scene.progress(made["metadata"]["name"], **running())
        root = await scene.shown("2 of 9 artifacts")
    assert {block["type"] for block in root.blocks} == {
        "header",
        "context",
        "rich_text",
        "actions",
    }


async def test_a_dry_run_creates_nothing(scene: Scene) -> None:
    async with scene.bot():
        answer = await scene.alice.ask("prod/api-0 --dry-run")
    said = answer.everything()
    assert "nothing was begun" in said
    assert "Containers: app" in said
    assert "As alice" in said
    assert "Somebody else would have to approve" in said
    assert scene.checkpoints() == []
    assert scene.slack.workspace.messages == []


async def test_updates_the_elapsed_time_without_other_changes(scene: Scene) -> None:
    began = datetime.now(UTC) - timedelta(seconds=58)
    async with scene.bot():
        scene.kubectl_create(incident="INC-1")
        scene.progress("by-hand", **(running() | {"startTime": began.isoformat()}))
        await scene.shown("0:5")
        await scene.shown("1:0")


async def test_milestones_overtake_progress(scene: Scene) -> None:
    names = [f"case-{number}" for number in range(8)]
    for name in names:
        scene.kubectl_create(name, incident="INC-1")
    async with scene.bot(updateSeconds=0.3):
        for name in names:
            scene.progress(name, **running())
        await scene.slack.workspace.until(
            lambda: sum("2 of 9" in one.everything() for one in scene.slack.workspace.roots()) == 8
        )
        scene.slack.workspace.calls.clear()
        for name in names:
            scene.progress(name, **running(artifactsDone=5))
        await scene.shown("5 of 9")
        scene.progress("case-7", **captured("case-7"))
        root = await scene.shown("Captured: you may kill the pod now")
    edits = [one for one in scene.slack.workspace.calls if one.method == "chat.update"]
    assert "case-7" in root.text
    assert root.ts in [one.arguments["ts"] for one in edits[:4]], "it had queued as the last of 8"


async def test_drops_plan_blocks_when_the_first_message_is_refused(scene: Scene) -> None:
    scene.slack.workspace.plans = False
    scene.kubectl_create(incident="INC-1")
    async with scene.bot():
        root = await scene.shown("by-hand")
    assert "plan" not in [block["type"] for block in root.blocks]


async def edited(scene: Scene, message: PostedMessage, before: int) -> None:
    """Wait until a message has more than `before` edits."""
    await scene.slack.workspace.until(lambda: len(message.edited) > before)


async def test_edits_are_at_least_edit_seconds_apart(scene: Scene) -> None:
    async with scene.bot(editSeconds=0.4):
        await scene.alice.ask("web-0 -n shop")
        (made,) = await scene.made()
        name = made["metadata"]["name"]
        root = await scene.shown(name)
        for number in range(60):
            edits = len(root.edited)
            scene.progress(name, **running(artifactsDone=number, artifactsTotal=60))
            if number % 20 == 19:
                await edited(scene, root, edits)
        await scene.shown("59 of 60 artifacts")
        scene.progress(name, **running())
        scene.progress(name, conditions=[condition("Captured", "ManifestFound", "x")])
        await scene.shown("Captured: you may kill the pod now.")
    assert scene.slack.workspace.roots() == [root]
    gaps = [later - sooner for sooner, later in zip(root.edited, root.edited[1:], strict=False)]
    assert min(gaps) > 0.39


@pytest.mark.parametrize(
    "fault",
    [
        SlackFault("chat.postMessage", status=429, retry_after=0),
        SlackFault("chat.postMessage", status=503, skip=1),
        SlackFault("chat.update", times=2, status=500),
        SlackFault("chat.update", error="internal_error"),
        SlackFault("chat.postMessage", error="missing_scope", skip=1),
    ],
    ids=lambda fault: f"{fault.method} {fault.status} {fault.error}",
)
async def test_milestones_survive_slack_errors_in_order(scene: Scene, fault: SlackFault) -> None:
    scene.slack.faults.add(fault)
    async with scene.bot():
        await scene.alice.ask("web-0 -n shop")
        (made,) = await scene.made()
        name = made["metadata"]["name"]
        scene.progress(name, **running())
        scene.progress(name, **captured(name))
        scene.finish(name)
        await scene.posted("attempt-1,captured,complete")
    (root,) = scene.slack.workspace.roots()
    assert "complete" in root.everything()
    told = [line.text.split(" ")[0] for line in scene.slack.workspace.thread(root)]
    assert told == ["Attempt", "Captured:", "Complete:"]


async def test_a_deleted_message_is_posted_again(scene: Scene) -> None:
    async with scene.bot():
        await scene.alice.ask("web-0 -n shop")
        (made,) = await scene.made()
        scene.progress(made["metadata"]["name"], **running())
        await scene.posted("attempt-1")
        await scene.shown("2 of 9")
        scene.slack.workspace.messages.clear()
        scene.slack.workspace.calls.clear()
        scene.progress(made["metadata"]["name"], **running(artifactsDone=5))
        await scene.slack.workspace.until(
            lambda: [one for one in scene.slack.workspace.calls if one.method == "chat.update"]
        )
        scene.finish(made["metadata"]["name"])
        await scene.posted("attempt-1,captured,complete")
    (root,) = scene.slack.workspace.roots()
    assert "complete" in root.everything()
    told = [line.text.split(" ")[0] for line in scene.slack.workspace.thread(root)]
    assert told == ["Captured:", "Complete:"]


async def test_a_milestone_with_refused_blocks_is_posted_as_text(scene: Scene) -> None:
    scene.slack.faults.add(SlackFault("chat.postMessage", error="msg_blocks_too_long", skip=3))
    async with scene.bot():
        await scene.alice.ask("web-0 -n shop")
        (made,) = await scene.made()
        scene.finish(made["metadata"]["name"])
        await scene.posted("attempt-1,captured,complete")
    (root,) = scene.slack.workspace.roots()
    *_, end = scene.slack.workspace.thread(root)
    assert [block["type"] for block in end.blocks] == ["section"]
    assert end.everything().startswith("Complete: 9 artifacts")


async def test_posts_again_after_rate_limits(scene: Scene) -> None:
    scene.slack.rates = Rates()
    names = [f"case-{number}" for number in range(BURST + 2)]
    for name in names:
        scene.kubectl_create(name, incident="INC-1")
    async with scene.bot():
        for name in names:
            await scene.shown(name)
    assert scene.slack.rates.refused > 0


async def test_the_first_findings_are_in_the_channel_and_in_the_thread(scene: Scene) -> None:
    first = {
        "rule": "running-program-not-in-image",
        "severity": "High",
        "count": 2,
        "container": "app",
        "message": "2 programs run that are not in the image: <!channel> /tmp/x, /tmp/y",
    }
    found = {"total": 2, "bySeverity": {"high": 2, "medium": 0, "low": 0}, "first": [first]}
    async with scene.bot():
        await scene.alice.ask("web-0 -n shop")
        (made,) = await scene.made()
        scene.finish(made["metadata"]["name"], findings=found)
        line = await scene.shown("2 programs run that are not in the image", thread=True)
        root = await scene.shown("high · app: 2 programs run that are not in the image")
    assert line.broadcast
    assert "Findings: 2 (2 high, 0 medium, 0 low)" in root.everything()
    assert "<!channel>" not in line.text
