"""The same bot, called by HTTP with Slack's signature."""

from __future__ import annotations

import socket

import aiohttp

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
