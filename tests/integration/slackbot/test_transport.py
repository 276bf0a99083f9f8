"""The same bot, called by HTTP with Slack's signature."""

from __future__ import annotations

import hashlib
import hmac
import logging
import socket
import time
from urllib.parse import urlencode

import aiohttp
import anyio
import pytest
from multidict import CIMultiDict

from lab.slack.faults import SlackFault
from slackbot.errors import SlackError
from slackbot.transport import SeenKeys
from tests.integration.slackbot.setup import (
    SlackSetup,
    innermost,
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_serves_commands_and_clicks_by_http(setup: SlackSetup) -> None:
    port = free_port()
    setup.slack.events_url = f"http://127.0.0.1:{port}/slack/events"
    async with setup.bot(transport="http", port=port, appToken=None):
        answer = await setup.alice.ask("web-0 -n shop")
        (made,) = await setup.made()
        setup.progress(made["metadata"]["name"], phase="Pending")
        root = await setup.shown("waiting")
        stopped = await setup.alice.click(root, "cancel")
        home = await setup.alice.open_home()
    assert "Asked for" in answer.text
    assert "Cancelling" in stopped.text
    assert home["type"] == "home"


async def test_rejects_requests_without_a_valid_signature(setup: SlackSetup) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/slack/events"
    body = "command=%2Fcheckpoint&text=web-0+-n+shop&user_id=U0ALICE&team_id=T0LAB&channel_id=C0INC"
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": "1",
        "X-Slack-Signature": "v0=00",
    }
    async with (
        setup.bot(transport="http", port=port),
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=headers) as response,
    ):
        assert response.status == 401
    assert setup.checkpoints() == []


def signed(secret: str, body: str, when: int) -> dict[str, str]:
    digest = hmac.new(secret.encode(), f"v0:{when}:{body}".encode(), hashlib.sha256)
    return {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": str(when),
        "X-Slack-Signature": f"v0={digest.hexdigest()}",
    }


COMMAND = {
    "command": "/checkpoint",
    "text": "web-0 -n shop",
    "user_id": "U0ALICE",
    "team_id": "T0LAB",
    "channel_id": "C0INC",
    "trigger_id": "1.2.3",
    "response_url": "http://127.0.0.1:9/",
}


@pytest.mark.parametrize("later", [0, 1], ids=["replayed", "retried with a new signature"])
async def test_handles_a_repeated_request_once(setup: SlackSetup, later: int) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/slack/events"
    now = int(time.time())
    async with (
        setup.bot(transport="http", port=port, signingSecret="s3cret", appToken=None),
        aiohttp.ClientSession() as session,
    ):
        for number in range(3):
            body = urlencode(COMMAND)
            headers = signed("s3cret", body, now + number * later)
            headers["X-Slack-Retry-Num"] = str(number)
            async with session.post(url, data=body, headers=headers) as response:
                assert response.status == 200
        await setup.made()
    assert len(setup.checkpoints()) == 1


@pytest.mark.parametrize("name", ["X-Slack-Signature", "X-Slack-Request-Timestamp"])
async def test_a_doubled_header_does_not_make_a_replay_new(
    setup: SlackSetup, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "slackbot.audit")
    port = free_port()
    url = f"http://127.0.0.1:{port}/slack/events"
    body = urlencode(COMMAND)
    headers = signed("s3cret", body, int(time.time()))
    wrong = "v0=00" if name == "X-Slack-Signature" else "1"
    async with (
        setup.bot(transport="http", port=port, signingSecret="s3cret", appToken=None),
        aiohttp.ClientSession() as session,
    ):
        async with session.post(url, data=body, headers=headers) as response:
            assert response.status == 200
        await setup.made()
        for doubled in ([(name, wrong), *headers.items()], [*headers.items(), (name, wrong)]):
            async with session.post(url, data=body, headers=CIMultiDict(doubled)) as response:
                assert response.status in {200, 401}
    assert len(setup.checkpoints()) == 1
    # The bot has ended, so whatever it was to do about the others is done.
    assert len(caplog.records) == 1


def test_seen_keys_are_bounded_and_can_be_forgotten() -> None:
    seen = SeenKeys(2)
    assert [seen.add(key) for key in "abab"] == [True, True, False, False]
    seen.forget("b")
    assert seen.add("b")
    assert seen.add("c")
    assert seen.add("a")


async def test_reopens_a_closed_socket(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.slack.close_sockets()
        assert "alice" in (await setup.alice.ask("whoami")).text
        await setup.slack.refresh_sockets()
        assert "alice" in (await setup.alice.ask("whoami")).text


async def test_a_wrong_bot_token_is_an_error_at_start(setup: SlackSetup) -> None:
    with pytest.raises((SlackError, ExceptionGroup)) as caught:
        async with setup.bot(botToken="xoxb-wrong"):
            pass
    assert "invalid_auth" in repr(caught.value) or "invalid_auth" in str(innermost(caught.value))


async def test_a_wrong_app_token_is_an_error_at_start(setup: SlackSetup) -> None:
    with pytest.raises((SlackError, ExceptionGroup)) as caught:
        async with setup.bot(appToken="xapp-wrong"):
            pass
    assert "invalid_auth to apps.connections.open" in str(innermost(caught.value))


async def test_retries_the_first_socket_while_slack_is_unavailable(setup: SlackSetup) -> None:
    setup.slack.faults.add(SlackFault("apps.connections.open", status=503))
    async with setup.bot():
        assert "alice" in (await setup.alice.ask("whoami")).text


async def test_becomes_healthy_and_ready(setup: SlackSetup) -> None:
    async with setup.bot() as port, aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/healthz") as response:
            assert response.status == 200
        with anyio.fail_after(10):
            while True:
                async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
                    if response.status == 200:
                        break
