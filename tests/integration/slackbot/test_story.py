"""From a command to the evidence's place: what the channel sees of a checkpoint."""

from __future__ import annotations

from tests.integration.slackbot.scene import (
    INCIDENT,
    Scene,
    captured,
    condition,
    failed,
    running,
)


async def test_a_command_becomes_a_checkpoint_that_names_who_asked(scene: Scene) -> None:
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


async def test_one_message_is_edited_and_the_thread_gets_the_milestones(scene: Scene) -> None:
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


async def test_what_failed_says_why_and_can_be_repeated(scene: Scene) -> None:
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


async def test_what_is_missing_is_said(scene: Scene) -> None:
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


async def test_cancel_stops_the_capture_once_it_is_confirmed(scene: Scene) -> None:
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


async def test_german_for_those_whose_slack_is_german(scene: Scene) -> None:
    async with scene.bot():
        answer = await scene.bob.ask("web-0 -n shop")
        (made,) = await scene.made()
        scene.finish(made["metadata"]["name"])
        await scene.shown("Der Pod darf jetzt beendet werden", thread=True)
        await scene.shown("Fertig: 9 Artefakte", thread=True)
        assert answer.text == f"Verlangt, als {made['metadata']['name']}. Weiter geht es im Kanal."


async def test_a_workspace_without_plans_gets_plain_lines(scene: Scene) -> None:
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


async def test_a_dry_run_says_what_would_happen_and_does_nothing(scene: Scene) -> None:
    async with scene.bot():
        answer = await scene.alice.ask("prod/api-0 --dry-run")
    said = answer.everything()
    assert "nothing was begun" in said
    assert "Containers: app" in said
    assert "As alice" in said
    assert "Somebody else would have to approve" in said
    assert scene.checkpoints() == []
    assert scene.slack.workspace.messages == []
