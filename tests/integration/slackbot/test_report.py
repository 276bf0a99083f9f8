"""From a command to the evidence's place: what the channel sees of a checkpoint."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lab.slack.faults import SlackFault
from lab.slack.rates import BURST, Rates
from lab.slack.workspace import PostedMessage
from tests.integration.slackbot.setup import (
    HERE,
    INCIDENT,
    SlackSetup,
    captured,
    condition,
    failed,
    running,
)


async def test_a_command_creates_a_checkpoint_with_its_requester(setup: SlackSetup) -> None:
    async with setup.bot():
        answer = await setup.alice.ask('web-0 -n shop --reason "odd traffic" --incident INC-7')
        (made,) = await setup.made()
    assert "Asked for" in answer.text
    expected = {"pod": "web-0", "namespace": "shop", "reason": "odd traffic", "incident": "INC-7"}
    assert made["spec"] == made["spec"] | expected
    annotations = made["metadata"]["annotations"]
    assert annotations["forensics.orkaproj.io/requested-by"] == "alice"
    assert annotations["forensics.orkaproj.io/slack-channel"] == INCIDENT
    assert made["metadata"]["labels"]["forensics.orkaproj.io/incident"] == "INC-7"


async def test_edits_one_message_and_posts_milestones_to_its_thread(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.alice.ask("web-0 -n shop")
        (made,) = await setup.made()
        name = made["metadata"]["name"]
        setup.progress(name, **running())
        root = await setup.shown("2 of 9 artifacts, 5.0 MiB read, 1.0 MiB stored")
        assert set(root.buttons()) == {"cancel"}
        setup.progress(name, **captured(name))
        await setup.shown("Captured: you may kill the pod now. 9 artifacts, 1.0 MiB.", thread=True)
        setup.finish(name)
        end = await setup.shown("The bundle is sealed.", thread=True)
    (only,) = setup.slack.workspace.roots()
    assert only is root
    assert "As alice" in only.everything()
    assert "complete" in only.everything()
    assert f"s3://cases/forensics/{name}/" in only.everything()
    assert set(only.buttons()) == {"retry"}
    lines = setup.slack.workspace.thread(root)
    assert [line.broadcast for line in lines] == [False, False, True]
    assert "Attempt 1 has begun on node node1" in lines[0].text
    assert "ab" * 32 in end.everything()
    assert "none asked" in end.everything()


async def test_a_failure_shows_its_reason_and_can_be_retried(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.alice.ask("web-0 -n shop -c app")
        (made,) = await setup.made()
        setup.progress(made["metadata"]["name"], **failed("NoDestination", "Set a destination"))
        line = await setup.shown("Failed: NoDestination. Set a destination", thread=True)
        assert line.broadcast
        root = await setup.shown("NoDestination: Set a destination")
        await setup.alice.click(root, "retry")
        both = await setup.made(2)
    assert [one["spec"]["containers"] for one in both] == [["app"], ["app"]]


async def test_a_partial_capture_shows_what_is_missing(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.alice.ask("web-0 -n shop")
        (made,) = await setup.made()
        name = made["metadata"]["name"]
        gap = condition("Partial", "NotSupported", "Not captured: memory")
        setup.finish(name, conditions=[*captured(name)["conditions"], gap], sealed=False)
        line = await setup.shown("Not captured: memory", thread=True)
        await setup.shown("complete, in part")
        await setup.posted("attempt-1,captured,complete")
    assert "not sealed" in line.text


async def test_cancel_stops_the_capture_after_confirmation(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.alice.ask("web-0 -n shop")
        (made,) = await setup.made()
        setup.progress(made["metadata"]["name"], **running())
        root = await setup.shown("2 of 9 artifacts")
        assert "cannot be resumed" in root.buttons()["cancel"]["confirm"]["text"]["text"]
        answer = await setup.alice.click(root, "cancel")
        await setup.slack.workspace.until(lambda: not root.buttons())
    assert "Cancelling" in answer.text
    assert setup.checkpoints()[0]["spec"]["cancel"] is True


async def test_german_users_get_german_messages(setup: SlackSetup) -> None:
    async with setup.bot():
        answer = await setup.bob.ask("web-0 -n shop")
        (made,) = await setup.made()
        setup.finish(made["metadata"]["name"])
        await setup.shown("Der Pod darf jetzt beendet werden", thread=True)
        await setup.shown("Fertig: 9 Artefakte", thread=True)
        assert answer.text == f"Verlangt, als {made['metadata']['name']}. Weiter geht es im Kanal."


async def test_workspaces_without_plan_blocks_get_plain_lines(setup: SlackSetup) -> None:
    setup.slack.workspace.plans = False
    async with setup.bot():
        await setup.alice.ask("web-0 -n shop")
        (made,) = await setup.made()
        setup.progress(made["metadata"]["name"], **running())
        root = await setup.shown("2 of 9 artifacts")
    assert {block["type"] for block in root.blocks} == {
        "header",
        "context",
        "rich_text",
        "actions",
    }


async def test_a_dry_run_creates_nothing(setup: SlackSetup) -> None:
    async with setup.bot():
        answer = await setup.alice.ask("prod/api-0 --dry-run")
    said = answer.everything()
    assert "nothing was begun" in said
    assert "Containers: app" in said
    assert "As alice" in said
    assert "Somebody else would have to approve" in said
    assert setup.checkpoints() == []
    assert setup.slack.workspace.messages == []


async def test_updates_the_elapsed_time_without_other_changes(setup: SlackSetup) -> None:
    began = datetime.now(UTC) - timedelta(seconds=58)
    async with setup.bot():
        setup.kubectl_create(incident="INC-1")
        setup.progress("by-hand", **(running() | {"startTime": began.isoformat()}))
        await setup.shown("0:5")
        await setup.shown("1:0")


async def test_milestones_overtake_progress(setup: SlackSetup) -> None:
    names = [f"case-{number}" for number in range(8)]
    for name in names:
        setup.kubectl_create(name, metadata={"annotations": HERE})
    async with setup.bot(updateSeconds=0.3):
        for name in names:
            setup.progress(name, **running())
        await setup.slack.workspace.until(
            lambda: sum("2 of 9" in one.everything() for one in setup.slack.workspace.roots()) == 8
        )
        setup.slack.workspace.calls.clear()
        for name in names:
            setup.progress(name, **running(artifactsDone=5))
        await setup.shown("5 of 9")
        setup.progress("case-7", **captured("case-7"))
        root = await setup.shown("Captured: you may kill the pod now")
    edits = [one for one in setup.slack.workspace.calls if one.method == "chat.update"]
    assert "case-7" in root.text
    assert root.ts in [one.arguments["ts"] for one in edits[:4]], "it had queued as the last of 8"


async def test_drops_plan_blocks_when_the_first_message_is_refused(setup: SlackSetup) -> None:
    setup.slack.workspace.plans = False
    setup.kubectl_create(incident="INC-1")
    async with setup.bot():
        root = await setup.shown("by-hand")
    assert "plan" not in [block["type"] for block in root.blocks]


async def edited(setup: SlackSetup, message: PostedMessage, before: int) -> None:
    """Wait until a message has more than `before` edits."""
    await setup.slack.workspace.until(lambda: len(message.edited) > before)


async def test_edits_are_at_least_edit_seconds_apart(setup: SlackSetup) -> None:
    async with setup.bot(editSeconds=0.4):
        await setup.alice.ask("web-0 -n shop")
        (made,) = await setup.made()
        name = made["metadata"]["name"]
        root = await setup.shown(name)
        for number in range(60):
            edits = len(root.edited)
            setup.progress(name, **running(artifactsDone=number, artifactsTotal=60))
            if number % 20 == 19:
                await edited(setup, root, edits)
        await setup.shown("59 of 60 artifacts")
        setup.progress(name, **running())
        setup.progress(name, conditions=[condition("Captured", "ManifestFound", "x")])
        await setup.shown("Captured: you may kill the pod now.")
    assert setup.slack.workspace.roots() == [root]
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
async def test_milestones_survive_slack_errors_in_order(
    setup: SlackSetup, fault: SlackFault
) -> None:
    setup.slack.faults.add(fault)
    async with setup.bot():
        await setup.alice.ask("web-0 -n shop")
        (made,) = await setup.made()
        name = made["metadata"]["name"]
        setup.progress(name, **running())
        setup.progress(name, **captured(name))
        setup.finish(name)
        await setup.posted("attempt-1,captured,complete")
    (root,) = setup.slack.workspace.roots()
    assert "complete" in root.everything()
    told = [line.text.split(" ")[0] for line in setup.slack.workspace.thread(root)]
    assert told == ["Attempt", "Captured:", "Complete:"]


async def test_a_deleted_message_is_posted_again(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.alice.ask("web-0 -n shop")
        (made,) = await setup.made()
        setup.progress(made["metadata"]["name"], **running())
        await setup.posted("attempt-1")
        await setup.shown("2 of 9")
        setup.slack.workspace.messages.clear()
        setup.slack.workspace.calls.clear()
        setup.progress(made["metadata"]["name"], **running(artifactsDone=5))
        await setup.slack.workspace.until(
            lambda: [one for one in setup.slack.workspace.calls if one.method == "chat.update"]
        )
        setup.finish(made["metadata"]["name"])
        await setup.posted("attempt-1,captured,complete")
    (root,) = setup.slack.workspace.roots()
    assert "complete" in root.everything()
    told = [line.text.split(" ")[0] for line in setup.slack.workspace.thread(root)]
    assert told == ["Captured:", "Complete:"]


async def test_a_milestone_with_refused_blocks_is_posted_as_text(setup: SlackSetup) -> None:
    setup.slack.faults.add(SlackFault("chat.postMessage", error="msg_blocks_too_long", skip=3))
    async with setup.bot():
        await setup.alice.ask("web-0 -n shop")
        (made,) = await setup.made()
        setup.finish(made["metadata"]["name"])
        await setup.posted("attempt-1,captured,complete")
    (root,) = setup.slack.workspace.roots()
    *_, end = setup.slack.workspace.thread(root)
    assert [block["type"] for block in end.blocks] == ["section"]
    assert end.everything().startswith("Complete: 9 artifacts")


async def test_posts_again_after_rate_limits(setup: SlackSetup) -> None:
    setup.slack.rates = Rates()
    names = [f"case-{number}" for number in range(BURST + 2)]
    for name in names:
        setup.kubectl_create(name, metadata={"annotations": HERE})
    async with setup.bot():
        for name in names:
            await setup.shown(name)
    assert setup.slack.rates.refused > 0


async def test_the_first_findings_are_in_the_channel_and_in_the_thread(setup: SlackSetup) -> None:
    first = {
        "rule": "running-program-not-in-image",
        "severity": "High",
        "count": 2,
        "container": "app",
        "message": "2 programs run that are not in the image: <!channel> /tmp/x, /tmp/y",
    }
    found = {"total": 2, "bySeverity": {"high": 2, "medium": 0, "low": 0}, "first": [first]}
    async with setup.bot():
        await setup.alice.ask("web-0 -n shop")
        (made,) = await setup.made()
        setup.finish(made["metadata"]["name"], findings=found)
        line = await setup.shown("2 programs run that are not in the image", thread=True)
        root = await setup.shown("high · app: 2 programs run that are not in the image")
    assert line.broadcast
    assert "Findings: 2 (2 high, 0 medium, 0 low)" in root.everything()
    assert "<!channel>" not in line.text
