"""Requests while Slack or the cluster fails."""

from __future__ import annotations

import json

import pytest

from forensics_loopback import Fault as ClusterFault
from lab.slack.faults import SlackFault
from tests.integration.slackbot.setup import (
    INCIDENT,
    SlackSetup,
)


async def test_captures_do_not_wait_for_slack(setup: SlackSetup) -> None:
    setup.slack.faults.add(SlackFault("chat.postMessage", times=2, status=503))
    async with setup.bot():
        answer = await setup.alice.ask("web-0 -n shop")
        (made,) = await setup.made()
        assert setup.slack.workspace.messages == []
        await setup.shown(made["metadata"]["name"])
    assert f"Asked for, as {made['metadata']['name']}" in answer.text


async def test_an_unavailable_cluster_is_an_error_message(setup: SlackSetup) -> None:
    async with setup.bot():
        setup.cluster.faults.add(ClusterFault(verb="get", resource="pods", status=500))
        answer = await setup.alice.ask("web-0 -n shop")
    assert "The Kubernetes API does not answer" in answer.text
    assert setup.checkpoints() == []


async def test_a_lost_answer_creates_no_second_checkpoint(
    setup: SlackSetup,
) -> None:
    lost = ClusterFault(verb="create", resource="podcheckpoints", reset=True, executed=True)
    setup.cluster.faults.add(lost)
    async with setup.bot():
        answer = await setup.alice.ask("web-0 -n shop")
    assert "Asked for" in answer.text
    assert len(setup.checkpoints()) == 1


async def test_gives_up_creating_while_the_cluster_stays_unavailable(setup: SlackSetup) -> None:
    away = ClusterFault(verb="create", resource="podcheckpoints", times=3)
    setup.cluster.faults.add(away)
    async with setup.bot():
        answer = await setup.alice.ask("web-0 -n shop")
    assert "The Kubernetes API does not answer" in answer.text
    assert setup.slack.workspace.messages == []


async def test_a_name_that_exists_is_an_error(setup: SlackSetup) -> None:
    taken = '{"kind": "Status", "reason": "AlreadyExists", "message": "taken", "code": 409}'
    fault = ClusterFault(verb="create", resource="podcheckpoints", status=409, body=taken)
    setup.cluster.faults.add(fault)
    async with setup.bot():
        answer = await setup.alice.ask("web-0 -n shop")
    assert "The cluster did not do it" in answer.text


async def test_captures_from_a_channel_without_the_bot_and_says_so(setup: SlackSetup) -> None:
    channel = setup.slack.workspace.channels[INCIDENT]
    channel["is_member"] = False
    async with setup.bot():
        answer = await setup.alice.ask("web-0 -n shop")
        (made,) = await setup.made()
        refused = await setup.alice.ask("prod/api-0")
        assert setup.slack.workspace.messages == []
        channel["is_member"] = True
        await setup.shown(made["metadata"]["name"])
    assert "The bot is not in this channel: /invite it" in answer.text
    assert "Slack did not do it (not_in_channel)" in refused.text


async def test_an_unexpected_error_is_logged_and_answered(
    setup: SlackSetup, caplog: pytest.LogCaptureFixture
) -> None:
    pod = setup.cluster.get("pods", "web-0", "shop")
    odd = json.dumps(pod | {"metadata": {"name": "web-0"}})
    fault = ClusterFault(verb="get", resource="pods", status=200, body=odd)
    async with setup.bot():
        setup.cluster.faults.add(fault)
        answer = await setup.alice.ask("web-0 -n shop")
        stranger = setup.slack.workspace.users.pop("U0BOB")
        setup.slack.workspace.users["U0BOB"] = {"name": stranger["id"]}
        await setup.bob.type("whoami")
        again = await setup.alice.ask("whoami")
    number = answer.text.rpartition(" ")[2]
    assert "Something went wrong in the bot" in answer.text
    assert f"Unforeseen, {number}" in caplog.text
    assert "alice" in again.text


@pytest.mark.parametrize(
    "fault", [SlackFault("response_url", status=429), SlackFault("response_url", status=500)]
)
async def test_retries_an_answer(setup: SlackSetup, fault: SlackFault) -> None:
    setup.slack.faults.add(fault)
    async with setup.bot():
        answer = await setup.alice.ask("whoami")
    assert "alice" in answer.text


async def test_an_undeliverable_answer_does_not_end_the_bot(setup: SlackSetup) -> None:
    async with setup.bot():
        for fault in (
            SlackFault("response_url", times=3, status=500),
            SlackFault("response_url", status=404),
        ):
            setup.slack.faults.add(fault)
            await setup.alice.type("web-0 -n nowhere")
            await setup.slack.workspace.until(lambda: not setup.slack.faults.waiting)
        answer = await setup.alice.ask("whoami")
    assert "alice" in answer.text
