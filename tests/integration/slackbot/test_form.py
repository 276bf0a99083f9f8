"""The form: opened by the bare command and from a message, with live suggestions."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from forensics_loopback import Fault as ClusterFault
from lab.slack.faults import SlackFault
from lab.slack.workspace import PostedMessage
from slackbot.blocks.form import FormContext, form_view
from tests.integration.slackbot.scene import INCIDENT, OTHER, Scene


async def test_the_command_alone_opens_the_form(scene: Scene) -> None:
    async with scene.bot():
        await scene.alice.type("")
        form = await scene.alice.opened_form()
        acknowledged = await scene.alice.submit(
            form, namespace="shop", pod="web-1", containers=["app"], reason="odd", incident="INC-2"
        )
        (made,) = await scene.made()
        answer = await scene.alice.next_ephemeral(0)
    assert acknowledged == {}
    assert "Asked for" in answer.text
    expected = {"pod": "web-1", "namespace": "shop", "containers": ["app"], "reason": "odd"}
    assert made["spec"] == made["spec"] | expected


async def test_suggests_visible_names_only(scene: Scene) -> None:
    async with scene.bot():
        await scene.alice.type("")
        form = await scene.alice.opened_form()
        alice = scene.alice
        assert await alice.suggestions(form, "namespace", "") == ["prod", "shop"]
        assert await alice.suggestions(form, "namespace", "sh") == ["shop"]
        assert await alice.suggestions(form, "pod", "") == []
        shop = await alice.chosen(form, "namespace", namespace="shop")
        assert await alice.suggestions(shop, "pod", "1") == ["web-1"]
        assert await alice.suggestions(shop, "containers", "") == []
        web = await alice.chosen(shop, "pod", namespace="shop", pod="web-0")
        assert await alice.suggestions(web, "containers", "") == ["app"]
        gone = await alice.chosen(web, "pod", namespace="shop", pod="gone")
        assert await alice.suggestions(gone, "containers", "") == []
        for hidden in ("secret", ".."):
            there = await alice.chosen(gone, "namespace", namespace=hidden, pod="web-0")
            assert await alice.suggestions(there, "pod", "") == []
        scene.rights.list_pods["alice"] = set()
        assert await alice.suggestions(shop, "pod", "") == []


async def test_a_new_choice_clears_dependent_fields_only(scene: Scene) -> None:
    async with scene.bot():
        await scene.alice.type("")
        form = await scene.alice.opened_form()
        filled = {"namespace": "shop", "reason": "odd", "incident": "INC-2"}
        shop = await scene.alice.chosen(form, "namespace", **filled)
        web = await scene.alice.chosen(shop, "pod", **filled, pod="web-0")
        again = await scene.alice.chosen(web, "namespace", **filled, pod="web-0")
        prod = await scene.alice.chosen(again, "namespace", **(filled | {"namespace": "prod"}))
        await scene.alice.submit(prod, namespace="prod", pod="api-0")
        await scene.shown("Approval needed: prod/api-0")
    asked = [[block["block_id"] for block in one["blocks"]] for one in (form, shop, web, prod)]
    namespaces, pods, containers, *others = zip(*asked, strict=True)
    assert len(set(namespaces)) == 1
    assert pods[1] == pods[2]
    assert len({pods[0], pods[1], pods[3]}) == 3
    assert len(set(containers)) == 4
    assert [len(set(one)) for one in others] == [1, 1]
    assert again["blocks"] == web["blocks"]
    assert web["blocks"][1]["element"]["initial_option"]["value"] == "web-0"
    assert "initial_option" not in prod["blocks"][1]["element"]
    assert prod["blocks"][3]["element"]["initial_value"] == "odd"


async def test_ignores_choices_of_strangers_and_in_closed_forms(scene: Scene) -> None:
    async with scene.bot():
        await scene.alice.type("")
        form = await scene.alice.opened_form()
        await scene.mallory.choose(form, "namespace", namespace="shop")
        assert "not on the list" in (await scene.mallory.next_ephemeral(0)).text
        assert scene.slack.workspace.views[form["id"]] is form
        del scene.slack.workspace.views[form["id"]]
        await scene.alice.choose(form, "namespace", namespace="shop")
        assert "alice" in (await scene.alice.ask("whoami")).text
    assert len(scene.alice.ephemerals()) == 1


async def test_slow_suggestions_are_cached_for_the_next_time(scene: Scene) -> None:
    async with scene.bot(suggestionSeconds=0.2):
        await scene.alice.type("")
        form = await scene.alice.opened_form()
        later = {"Retry-After": "1"}
        fault = ClusterFault(verb="list", resource="pods", status=429, headers=later)
        scene.cluster.faults.add(fault)
        assert await scene.alice.suggestions(form, "namespace", "") == []
        with anyio.fail_after(20):
            while not await scene.alice.suggestions(form, "namespace", ""):
                pass
    assert scene.cluster.records.counts()["list pods"] == 2, "the one that was put off, and again"


async def test_suggests_nothing_after_an_error(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene.bot():
        await scene.alice.type("")
        form = await scene.alice.opened_form()
        odd = json.dumps({"metadata": {"resourceVersion": "1"}, "items": [{"metadata": {}}]})
        fault = ClusterFault(verb="list", resource="pods", status=200, body=odd)
        scene.cluster.faults.add(fault)
        assert await scene.alice.suggestions(form, "namespace", "") == []
        assert await scene.alice.suggestions(form, "namespace", "") == ["prod", "shop"]
    assert "No suggestions for U0ALICE" in caplog.text


async def test_suggests_nothing_to_unauthorised_users(scene: Scene) -> None:
    async with scene.bot():
        await scene.alice.type("")
        form = await scene.alice.opened_form()
        assert await scene.mallory.suggestions(form, "namespace", "") == []
        shop = await scene.alice.chosen(form, "namespace", namespace="shop")
        assert await scene.alice.suggestions(shop, "pod", "") == ["web-0", "web-1"]
        assert await scene.carol.suggestions(shop, "pod", "") == []
        assert await scene.mallory.suggestions(shop, "pod", "") == []


async def test_checks_access_again_at_submission(scene: Scene) -> None:
    async with scene.bot():
        await scene.alice.type("")
        form = await scene.alice.opened_form()
        await scene.carol.submit(form, namespace="shop", pod="web-0")
        answer = await scene.carol.next_ephemeral(0)
    assert "may not do this" in answer.text
    assert scene.checkpoints() == []


async def test_refuses_a_form_from_another_channel(scene: Scene) -> None:
    async with scene.bot():
        await scene.person("U0ALICE", OTHER).type("")
        refused = await scene.alice.opened_form()
        assert "does not work in this channel" in str(refused)
        assert "submit" not in refused
        form = form_view(FormContext()) | {"id": refused["id"], "private_metadata": ""}
        await scene.alice.submit(form, namespace="shop", pod="web-0")
        await scene.alice.open_home()
    assert scene.checkpoints() == []


async def test_shows_errors_below_their_fields(scene: Scene) -> None:
    async with scene.bot():
        await scene.alice.type("")
        form = await scene.alice.opened_form()
        no_pod = await scene.alice.submit(form, namespace="shop")
        long = await scene.alice.submit(form, namespace="shop", pod="web-0", reason="x" * 3000)
        odd = await scene.alice.submit(form, namespace="shop", pod="web-0", incident="<!here>")
    assert no_pod["response_action"] == "errors"
    assert list(no_pod["errors"]) == [form["blocks"][1]["block_id"]]
    assert "3000 characters" in long["errors"]["reason"]
    assert "incident" in odd["errors"]


async def test_the_form_is_in_the_users_language(scene: Scene) -> None:
    async with scene.bot():
        await scene.bob.type("")
        form = await scene.bob.opened_form()
        wrong = await scene.bob.submit(form, namespace="shop", pod="web_0")
    assert form["title"]["text"] == "Pod sichern"
    assert "kein Name" in wrong["errors"][form["blocks"][1]["block_id"]]


async def test_the_form_starts_with_the_default_namespace(scene: Scene) -> None:
    async with scene.bot(defaultNamespace="shop"):
        await scene.alice.type("")
        form = await scene.alice.opened_form()
        assert await scene.alice.suggestions(form, "pod", "0") == ["web-0"]
    assert form["blocks"][0]["element"]["initial_option"]["value"] == "shop"


async def test_the_shortcut_fills_in_the_reason_and_links_the_report(scene: Scene) -> None:
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


ALERTS: list[dict[str, Any]] = [
    {"text": "Odd <https://x.example|traffic> of &lt;web&gt;"},
    {"attachments": [{"title": "Odd traffic", "text": "of &lt;web&gt;"}]},
    {"attachments": [{"fallback": "Odd traffic of &lt;web&gt;"}]},
    {"attachments": [{"blocks": [{"text": {"text": "Odd traffic of &lt;web&gt;"}}]}]},
    {"blocks": [{"type": "header", "text": {"type": "plain_text", "text": "Odd traffic"}},
                {"type": "context", "elements": [{"type": "mrkdwn", "text": "of &lt;web&gt;"}]}]},
]  # fmt: skip


@pytest.mark.parametrize("alert", ALERTS, ids=str)
async def test_reads_the_reason_from_any_part_of_an_alert(
    scene: Scene, alert: dict[str, Any]
) -> None:
    message = PostedMessage(INCIDENT, "1.000001", "", [])
    scene.slack.workspace.messages.append(message)
    async with scene.bot():
        await scene.alice.use_shortcut(message, **alert)
        form = await scene.alice.opened_form()
    assert form["blocks"][3]["element"]["initial_value"] == "Odd traffic of <web>"


async def test_a_form_that_cannot_be_opened_is_an_error_message(scene: Scene) -> None:
    scene.slack.faults.add(SlackFault("views.open", error="expired_trigger_id"))
    async with scene.bot():
        answer = await scene.alice.ask("")
        again = await scene.alice.ask("whoami")
    assert "Slack did not do it (expired_trigger_id)" in answer.text
    assert "alice" in again.text
