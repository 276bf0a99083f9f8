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
from tests.integration.slackbot.setup import INCIDENT, OTHER, SlackSetup


async def test_the_command_alone_opens_the_form(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.alice.type("")
        form = await setup.alice.opened_form()
        acknowledged = await setup.alice.submit(
            form, namespace="shop", pod="web-1", containers=["app"], reason="odd", incident="INC-2"
        )
        (made,) = await setup.made()
        answer = await setup.alice.next_ephemeral(0)
    assert acknowledged == {}
    assert "Asked for" in answer.text
    expected = {"pod": "web-1", "namespace": "shop", "containers": ["app"], "reason": "odd"}
    assert made["spec"] == made["spec"] | expected


async def test_suggests_visible_names_only(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.alice.type("")
        form = await setup.alice.opened_form()
        alice = setup.alice
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
        setup.rights.list_pods["alice"] = set()
        assert await alice.suggestions(shop, "pod", "") == []


async def test_a_new_choice_clears_dependent_fields_only(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.alice.type("")
        form = await setup.alice.opened_form()
        filled = {"namespace": "shop", "reason": "odd", "incident": "INC-2"}
        shop = await setup.alice.chosen(form, "namespace", **filled)
        web = await setup.alice.chosen(shop, "pod", **filled, pod="web-0")
        again = await setup.alice.chosen(web, "namespace", **filled, pod="web-0")
        prod = await setup.alice.chosen(again, "namespace", **(filled | {"namespace": "prod"}))
        await setup.alice.submit(prod, namespace="prod", pod="api-0")
        await setup.shown("Approval needed: prod/api-0")
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


async def test_ignores_choices_of_strangers_and_in_closed_forms(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.alice.type("")
        form = await setup.alice.opened_form()
        await setup.mallory.choose(form, "namespace", namespace="shop")
        assert "not on the list" in (await setup.mallory.next_ephemeral(0)).text
        assert setup.slack.workspace.views[form["id"]] is form
        del setup.slack.workspace.views[form["id"]]
        await setup.alice.choose(form, "namespace", namespace="shop")
        assert "alice" in (await setup.alice.ask("whoami")).text
    assert len(setup.alice.ephemerals()) == 1


async def test_slow_suggestions_are_cached_for_the_next_time(setup: SlackSetup) -> None:
    async with setup.bot(suggestionSeconds=0.2):
        await setup.alice.type("")
        form = await setup.alice.opened_form()
        later = {"Retry-After": "1"}
        fault = ClusterFault(verb="list", resource="pods", status=429, headers=later)
        setup.cluster.faults.add(fault)
        assert await setup.alice.suggestions(form, "namespace", "") == []
        with anyio.fail_after(20):
            while not await setup.alice.suggestions(form, "namespace", ""):
                pass
    assert setup.cluster.records.counts()["list pods"] == 2, "the one that was put off, and again"


async def test_suggests_nothing_after_an_error(
    setup: SlackSetup, caplog: pytest.LogCaptureFixture
) -> None:
    async with setup.bot():
        await setup.alice.type("")
        form = await setup.alice.opened_form()
        odd = json.dumps({"metadata": {"resourceVersion": "1"}, "items": [{"metadata": {}}]})
        fault = ClusterFault(verb="list", resource="pods", status=200, body=odd)
        setup.cluster.faults.add(fault)
        assert await setup.alice.suggestions(form, "namespace", "") == []
        assert await setup.alice.suggestions(form, "namespace", "") == ["prod", "shop"]
    assert "No suggestions for U0ALICE" in caplog.text


async def test_suggests_nothing_to_unauthorised_users(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.alice.type("")
        form = await setup.alice.opened_form()
        assert await setup.mallory.suggestions(form, "namespace", "") == []
        shop = await setup.alice.chosen(form, "namespace", namespace="shop")
        assert await setup.alice.suggestions(shop, "pod", "") == ["web-0", "web-1"]
        assert await setup.carol.suggestions(shop, "pod", "") == []
        assert await setup.mallory.suggestions(shop, "pod", "") == []


async def test_checks_access_again_at_submission(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.alice.type("")
        form = await setup.alice.opened_form()
        await setup.carol.submit(form, namespace="shop", pod="web-0")
        answer = await setup.carol.next_ephemeral(0)
    assert "may not do this" in answer.text
    assert setup.checkpoints() == []


async def test_refuses_a_form_from_another_channel(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.person("U0ALICE", OTHER).type("")
        refused = await setup.alice.opened_form()
        assert "does not work in this channel" in str(refused)
        assert "submit" not in refused
        form = form_view(FormContext()) | {"id": refused["id"], "private_metadata": ""}
        await setup.alice.submit(form, namespace="shop", pod="web-0")
        await setup.alice.open_home()
    assert setup.checkpoints() == []


async def test_shows_errors_below_their_fields(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.alice.type("")
        form = await setup.alice.opened_form()
        no_pod = await setup.alice.submit(form, namespace="shop")
        long = await setup.alice.submit(form, namespace="shop", pod="web-0", reason="x" * 3000)
        odd = await setup.alice.submit(form, namespace="shop", pod="web-0", incident="<!here>")
    assert no_pod["response_action"] == "errors"
    assert list(no_pod["errors"]) == [form["blocks"][1]["block_id"]]
    assert "3000 characters" in long["errors"]["reason"]
    assert "incident" in odd["errors"]


async def test_the_form_is_in_the_users_language(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.bob.type("")
        form = await setup.bob.opened_form()
        wrong = await setup.bob.submit(form, namespace="shop", pod="web_0")
    assert form["title"]["text"] == "Pod sichern"
    assert "kein Name" in wrong["errors"][form["blocks"][1]["block_id"]]


async def test_the_form_starts_with_the_default_namespace(setup: SlackSetup) -> None:
    async with setup.bot(defaultNamespace="shop"):
        await setup.alice.type("")
        form = await setup.alice.opened_form()
        assert await setup.alice.suggestions(form, "pod", "0") == ["web-0"]
    assert form["blocks"][0]["element"]["initial_option"]["value"] == "shop"


async def test_the_shortcut_fills_in_the_reason_and_links_the_report(setup: SlackSetup) -> None:
    setup.kubectl_create(incident="INC-1")
    async with setup.bot():
        alert = await setup.shown("by-hand")
        await setup.alice.use_shortcut(alert)
        form = await setup.alice.opened_form()
        reason = form["blocks"][3]["element"]["initial_value"]
        assert "by-hand" in reason
        await setup.alice.submit(form, namespace="shop", pod="web-0", reason=reason)
        line = await setup.shown("follow it here", thread=True)
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
    setup: SlackSetup, alert: dict[str, Any]
) -> None:
    message = PostedMessage(INCIDENT, "1.000001", "", [])
    setup.slack.workspace.messages.append(message)
    async with setup.bot():
        await setup.alice.use_shortcut(message, **alert)
        form = await setup.alice.opened_form()
    assert form["blocks"][3]["element"]["initial_value"] == "Odd traffic of <web>"


async def test_a_form_that_cannot_be_opened_is_an_error_message(setup: SlackSetup) -> None:
    setup.slack.faults.add(SlackFault("views.open", error="expired_trigger_id"))
    async with setup.bot():
        answer = await setup.alice.ask("")
        again = await setup.alice.ask("whoami")
    assert "Slack did not do it (expired_trigger_id)" in answer.text
    assert "alice" in again.text
