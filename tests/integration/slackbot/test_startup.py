"""`forensics-slackbot` that cannot start: one clear line."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from forensics_loopback import User
from lab.slack.workspace import APP_TOKEN, BOT_TOKEN
from tests.integration.slackbot.setup import SlackSetup
from tests.programs import UNREACHABLE, kubeconfig, program, start, write_keys

BOT = program("forensics-slackbot")
TOKENS = {"SLACK_BOT_TOKEN": BOT_TOKEN, "SLACK_APP_TOKEN": APP_TOKEN}


def bot(folder: Path, config: Path | None, **settings: Any) -> list[str]:
    """Return the command line of a bot with these settings."""
    path = folder / "bot.yaml"
    path.write_text(yaml.safe_dump({"apiUrl": f"{UNREACHABLE}/api/", "healthPort": 0, **settings}))
    cluster = ["--kubeconfig", str(config)] if config else []
    return [BOT, "--config", str(path), *cluster]


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ({}, "SLACK_BOT_TOKEN: Field required"),
        ({"SLACK_BOT_TOKEN": BOT_TOKEN}, "Socket Mode needs SLACK_APP_TOKEN"),
    ],
)
async def test_tokens_that_are_missing(tmp_path: Path, tokens: dict[str, str], said: str) -> None:
    command = bot(tmp_path, kubeconfig(tmp_path / "config"))
    (await start(command, **tokens)).assert_one_line(2, said)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (b"{", "cannot be read"),
        (b"\xff", "cannot be read"),
        (b"- a", "holds no settings"),
        (b"colour: red", "colour: Extra inputs are not permitted"),
        (b"healthPort: x", "healthPort: Input should be"),
    ],
)
async def test_settings_that_are_none(tmp_path: Path, settings: bytes, said: str) -> None:
    path = tmp_path / "bot.yaml"
    path.write_bytes(settings)
    (await start([BOT, "--config", str(path)], **TOKENS)).assert_one_line(2, said)


async def test_a_level_that_is_none() -> None:
    (await start([BOT, "--log-level", "loud"], **TOKENS)).assert_one_line(2, "'loud' is not one of")


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "is missing, or empty"), ("", "is missing, or empty"), ("{", "cannot be read")],
)
async def test_a_kubeconfig_that_is_none(tmp_path: Path, content: str | None, said: str) -> None:
    config = tmp_path / "kubeconfig"
    if content is not None:
        config.write_text(content)
    (await start(bot(tmp_path, config), **TOKENS)).assert_one_line(1, said)


async def test_a_kubeconfig_whose_ca_file_is_missing(tmp_path: Path) -> None:
    options = {"certificate-authority": "/nowhere/ca.pem"}
    config = kubeconfig(tmp_path / "config", **options)
    (await start(bot(tmp_path, config), **TOKENS)).assert_one_line(1, "/nowhere/ca.pem")


async def test_without_a_kubeconfig_outside_of_a_cluster(tmp_path: Path) -> None:
    ended = await start(bot(tmp_path, None), HOME=str(tmp_path), **TOKENS)
    ended.assert_one_line(1, "KUBECONFIG")


@pytest.mark.parametrize("key", ["missing", "folder", "empty", "text", "rsa", "p384", "good"])
async def test_a_public_key_that_is_none(tmp_path: Path, key: str) -> None:
    write_keys(tmp_path)
    command = bot(
        tmp_path, kubeconfig(tmp_path / "config"), reader={"publicKey": str(tmp_path / key)}
    )
    (await start(command, **TOKENS)).assert_one_line(2, str(tmp_path / key))


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        command = bot(tmp_path, kubeconfig(tmp_path / "config"), healthPort=port)
        ended = await start(command, **TOKENS)
    ended.assert_one_line(2, f"Cannot listen on port {port}")


async def test_slack_that_cannot_be_reached(tmp_path: Path) -> None:
    ended = await start(bot(tmp_path, kubeconfig(tmp_path / "config")), **TOKENS)
    ended.assert_one_line(1, "Slack cannot be reached (auth.test)")


async def test_tokens_that_slack_refuses(setup: SlackSetup, tmp_path: Path) -> None:
    command = bot(tmp_path, setup.kubeconfig, apiUrl=setup.values["apiUrl"])
    wrong = {**TOKENS, "SLACK_BOT_TOKEN": "xoxb-wrong"}
    (await start(command, **wrong)).assert_one_line(1, "Slack answered invalid_auth to auth.test")
    wrong = {**TOKENS, "SLACK_APP_TOKEN": "xapp-wrong"}
    (await start(command, **wrong)).assert_one_line(1, "Slack answered invalid_auth")


async def test_a_cluster_that_refuses_the_bot(setup: SlackSetup, tmp_path: Path) -> None:
    command = bot(
        tmp_path, kubeconfig(tmp_path / "wrong", setup.cluster.url), apiUrl=setup.values["apiUrl"]
    )
    (await start(command, **TOKENS)).assert_one_line(1, "Log in to the cluster again")
    config = await setup.cluster.kubeconfig(tmp_path / "nobody", user=User("nobody"))
    command = bot(tmp_path, config, apiUrl=setup.values["apiUrl"])
    (await start(command, **TOKENS)).assert_one_line(1, "Ask for the right")
