"""The form: opened by the bare command and from a message, with live suggestions."""

from __future__ import annotations

from lab.slack.faults import Fault
from tests.integration.slackbot.scene import OTHER, Scene


async def test_the_bare_command_opens_a_form(scene: Scene) -> None:
    async with scene.bot():
        await scene.alice.type("")
        form = await scene.alice.opened_form()
        acknowledged = await scene.alice.submit(
            form, namespace="shop", pod="web-1", containers=["app"], reason="odd", incident="INC-2"
        )
        (made,) = await scene.made()
        answer = await scene.alice.next_whisper(0)
    assert acknowledged == {}
    assert "Asked for" in answer.text
    expected = {"pod": "web-1", "namespace": "shop", "containers": ["app"], "reason": "odd"}
    assert made["spec"] == made["spec"] | expected


async def test_suggestions_are_live_and_show_what_one_may_see(scene: Scene) -> None:
    async with scene.bot():
        await scene.alice.type("")
        form = await scene.alice.opened_form()
        alice = scene.alice
        assert await alice.suggestions(form, "namespace", "") == ["prod", "shop"]
        assert await alice.suggestions(form, "namespace", "sh") == ["shop"]
        assert await alice.suggestions(form, "pod", "") == []
        assert await alice.suggestions(form, "pod", "1", namespace="shop") == ["web-1"]
        assert await alice.suggestions(form, "pod", "", namespace="secret") == []
        assert await alice.suggestions(form, "containers", "", namespace="shop") == []
        chosen = {"namespace": "shop", "pod": "web-0"}
        assert await alice.suggestions(form, "containers", "", **chosen) == ["app"]
        gone = {"namespace": "shop", "pod": "gone"}
        assert await alice.suggestions(form, "containers", "", **gone) == []
        assert await alice.suggestions(form, "pod", "", namespace="..") == []
        scene.rights.list_pods["alice"] = set()
        assert await alice.suggestions(form, "pod", "", namespace="shop") == []


async def test_strangers_get_no_suggestions(scene: Scene) -> None:
    async with scene.bot():
        await scene.alice.type("")
        form = await scene.alice.opened_form()
        assert await scene.mallory.suggestions(form, "namespace", "") == []
        assert await scene.carol.suggestions(form, "pod", "", namespace="shop") == []


async def test_a_submission_is_authorised_again(scene: Scene) -> None:
    async with scene.bot():
        await scene.alice.type("")
        form = await scene.alice.opened_form()
        await scene.carol.submit(form, namespace="shop", pod="web-0")
        answer = await scene.carol.next_whisper(0)
    assert "may not do this" in answer.text
    assert scene.checkpoints() == []


async def test_a_form_from_elsewhere_is_refused(scene: Scene) -> None:
    async with scene.bot():
        await scene.person("U0ALICE", OTHER).type("")
        refused = await scene.alice.opened_form()
        assert "does not work in this channel" in str(refused)
        assert "submit" not in refused
        form = refused | {"private_metadata": ""}
        await scene.alice.submit(form, namespace="shop", pod="web-0")
        await scene.alice.open_home()
    assert scene.checkpoints() == []


async def test_what_is_missing_is_shown_below_its_field(scene: Scene) -> None:
    async with scene.bot():
        await scene.alice.type("")
        form = await scene.alice.opened_form()
        no_pod = await scene.alice.submit(form, namespace="shop")
        long = await scene.alice.submit(form, namespace="shop", pod="web-0", reason="x" * 3000)
        odd = await scene.alice.submit(form, namespace="shop", pod="web-0", incident="<!here>")
    assert no_pod["response_action"] == "errors"
    assert "pod" in no_pod["errors"]
    assert "3000 characters" in long["errors"]["reason"]
    assert "incident" in odd["errors"]


async def test_the_form_speaks_the_readers_language(scene: Scene) -> None:
    async with scene.bot():
        await scene.bob.type("")
        form = await scene.bob.opened_form()
        wrong = await scene.bob.submit(form, namespace="shop", pod="web_0")
    assert form["title"]["text"] == "Pod sichern"
    assert "kein Name" in wrong["errors"]["pod"]


async def test_a_form_may_begin_with_the_usual_namespace(scene: Scene) -> None:
    async with scene.bot(defaultNamespace="shop"):
        await scene.alice.type("")
        form = await scene.alice.opened_form()
    assert form["blocks"][0]["element"]["initial_option"]["value"] == "shop"


async def test_from_a_message_the_form_knows_why_and_the_thread_is_told(scene: Scene) -> None:
    scene.kubectl_create(incident="INC-1")
    async with scene.bot():
        alert = await scene.shown("by-hand")
        await scene.alice.use_shortcut(alert)
        form = await scene.alice.opened_form()
        reason = form["blocks"][3]["element"]["initial_value"]
        assert "by-hand" in reason
        await scene.alice.submit(form, namespace="shop", pod="web-0", reason=reason)
        line = await scene.shown("follow it here", thread=True)
    assert line.thread == alert.ts
    assert "/archives/C0INC/" in str(line.blocks)


async def test_a_form_that_cannot_be_opened_breaks_nothing(scene: Scene) -> None:
    scene.slack.faults.add(Fault("views.open", error="expired_trigger_id"))
    async with scene.bot():
        answer = await scene.alice.ask("")
        again = await scene.alice.ask("whoami")
    assert "Slack did not do it (expired_trigger_id)" in answer.text
    assert "alice" in again.text
