"""`forensics-slackbot` as it is started."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import anyio
import yaml

from lab.slack.workspace import APP_TOKEN, BOT_TOKEN
from tests.integration.slackbot.setup import SlackSetup

COMMAND = [sys.executable, "-c", "from slackbot.main import main; main()"]


def environment(setup: SlackSetup, token: str = BOT_TOKEN) -> dict[str, str]:
    tokens = {"SLACK_BOT_TOKEN": token, "SLACK_APP_TOKEN": APP_TOKEN}
    return dict(os.environ) | tokens | {"KUBECONFIG": str(setup.kubeconfig)}


def config(setup: SlackSetup, folder: Path) -> Path:
    secret = {"botToken", "appToken", "signingSecret"}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in setup.values.items() if k not in secret}))
    return path


async def test_serves_until_sigterm(setup: SlackSetup, tmp_path: Path) -> None:
    quiet = ["--log-level", "error"]
    command = [*COMMAND, "--config", str(config(setup, tmp_path)), *quiet]
    async with await anyio.open_process(command, env=environment(setup)) as process:
        answer = await setup.alice.ask("web-0 -n shop", within=40)
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        logged = b"".join([chunk async for chunk in process.stdout])
        with anyio.fail_after(20):
            code = await process.wait()
    assert "Asked for" in answer.text
    assert code == 0
    (line,) = map(json.loads, logged.splitlines())
    assert (line["logger"], line["audit"]) == ("slackbot.audit", "allowed"), "no level silences it"


async def test_a_refused_token_is_a_one_line_error(setup: SlackSetup, tmp_path: Path) -> None:
    command = [*COMMAND, "--config", str(config(setup, tmp_path))]
    env = environment(setup, "xoxb-wrong")
    result = await anyio.run_process(command, env=env, check=False)
    assert result.returncode == 1
    assert "Slack answered invalid_auth to auth.test" in result.stderr.decode()


async def test_an_unknown_log_level_is_wrong_usage() -> None:
    result = await anyio.run_process([*COMMAND, "--log-level", "loud"], check=False)
    assert result.returncode == 2
    assert "'loud' is not one of" in result.stderr.decode()


async def test_invalid_settings_are_wrong_usage() -> None:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("SLACK")}
    result = await anyio.run_process(COMMAND, env=bare, check=False)
    assert result.returncode == 2
    assert "SLACK_BOT_TOKEN" in result.stderr.decode()
