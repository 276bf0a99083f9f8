"""The same bot, called by HTTP with Slack's signature."""

from __future__ import annotations

import hashlib
import hmac
import socket
import time
from urllib.parse import urlencode

import aiohttp
import pytest

from slackbot.transport import SeenKeys
from tests.integration.slackbot.scene import Scene


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_commands_and_clicks_come_by_http(scene: Scene) -> None:
    port = free_port()
    scene.slack.events_url = f"http://127.0.0.1:{port}/slack/events"
    async with scene.bot(transport="http", port=port, appToken=None):
        answer = await scene.alice.ask("web-0 -n shop")
        (made,) = await scene.made()
        scene.progress(made["metadata"]["name"], phase="Pending")
        root = await scene.shown("waiting")
        stopped = await scene.alice.click(root, "cancel")
        home = await scene.alice.open_home()
    assert "Asked for" in answer.text
    assert "Cancelling" in stopped.text
    assert home["type"] == "home"


async def test_nobody_else_is_heard(scene: Scene) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/slack/events"
    body = "command=%2Fcheckpoint&text=web-0+-n+shop&user_id=U0ALICE&team_id=T0LAB&channel_id=C0INC"
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": "1",
        "X-Slack-Signature": "v0=00",
    }
    async with (
        scene.bot(transport="http", port=port),
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=headers) as response,
    ):
        assert response.status == 401
    assert scene.checkpoints() == []


def signed(secret: str, body: str, when: int) -> dict[str, str]:
    digest = hmac.new(secret.encode(), f"v0:{when}:{body}".encode(), hashlib.sha256)
    return {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": str(when),
        "X-Slack-Signature": f"v0={digest.hexdigest()}",
    }


@pytest.mark.parametrize("later", [0, 1], ids=["replayed", "retried with a new signature"])
async def test_a_request_that_comes_three_times_is_taken_once(scene: Scene, later: int) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/slack/events"
    fields = {
        "command": "/checkpoint",
        "text": "web-0 -n shop",
        "user_id": "U0ALICE",
        "team_id": "T0LAB",
        "channel_id": "C0INC",
        "trigger_id": "1.2.3",
        "response_url": "http://127.0.0.1:9/",
    }
    now = int(time.time())
    async with (
        scene.bot(transport="http", port=port, signingSecret="s3cret", appToken=None),
        aiohttp.ClientSession() as session,
    ):
        for number in range(3):
            body = urlencode(fields)
            headers = signed("s3cret", body, now + number * later)
            headers["X-Slack-Retry-Num"] = str(number)
            async with session.post(url, data=body, headers=headers) as response:
                assert response.status == 200
        await scene.made()
    assert len(scene.checkpoints()) == 1


def test_what_is_remembered_is_bounded_and_can_be_forgotten() -> None:
    seen = SeenKeys(2)
    assert [seen.add(key) for key in "abab"] == [True, True, False, False]
    seen.forget("b")
    assert seen.add("b")
    assert seen.add("c")
    assert seen.add("a")
