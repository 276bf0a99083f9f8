"""The bot's settings, from a file and the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from forensics_core.errors import UsageError
from slackbot.settings import load_settings

TOKENS = {"SLACK_BOT_TOKEN": "xoxb-1", "SLACK_APP_TOKEN": "xapp-1"}
FILE = """
channels:
  - {id: C0INC, incidents: ["INC-*"]}
  - {id: C0TWO}
protected: [prod, "prod-*"]
identities:
  U0ALICE: {username: alice, groups: [responders]}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_combines_file_and_environment(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, FILE), TOKENS)
    assert settings.bot_token.get_secret_value() == "xoxb-1"
    assert "xoxb" not in repr(settings)
    assert settings.channel("C0TWO") is not None
    assert settings.channel("C0THREE") is None
    found = settings.channel_for("INC-7")
    assert found is not None
    assert found.id == "C0INC"
    assert settings.channel_for("OTHER-7") is None
    assert [settings.is_protected(name) for name in ("prod", "prod-eu", "shop")] == [
        True,
        True,
        False,
    ]
    assert settings.identities["U0ALICE"].groups == ("responders",)


def test_nothing_is_allowed_by_default() -> None:
    settings = load_settings(None, TOKENS)
    assert not settings.channels
    assert not settings.user_groups
    assert not settings.users
    assert not settings.identities
    assert settings.email is None


@pytest.mark.parametrize(
    ("text", "environ", "said"),
    [
        ("", {}, "SLACK_BOT_TOKEN"),
        ("", {"SLACK_BOT_TOKEN": "xoxb-1"}, "Socket Mode needs SLACK_APP_TOKEN"),
        ("transport: http", TOKENS, "HTTP needs SLACK_SIGNING_SECRET"),
        ("colour: red", TOKENS, "colour"),
        ("channels: [{id: general}]", TOKENS, "channels.0.id"),
        ("cacheSeconds: 600", TOKENS, "cacheSeconds"),
        ("[1]", TOKENS, "holds no settings"),
        ("{", TOKENS, "cannot be read"),
    ],
)
def test_invalid_settings_are_named(
    tmp_path: Path, text: str, environ: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        load_settings(written(tmp_path, text), environ)
    assert said in str(caught.value)
    assert "xoxb-1" not in str(caught.value)
