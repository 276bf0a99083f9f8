"""What docs/slack.md says is so."""

from __future__ import annotations

import re

import pytest
import yaml

from slackbot.command import Verb
from slackbot.settings import Settings
from tests.unit.deploy.manifests import REPOSITORY

DOCUMENT = (REPOSITORY / "docs" / "slack.md").read_text()
TABLE = DOCUMENT.partition("## Settings")[2].partition("\n## ")[0]
SECRET = {"bot_token", "app_token", "signing_secret"}
EXAMPLE = DOCUMENT.partition("The least that works:")[2].partition("\n4. ")[0]


def test_the_table_lists_every_setting() -> None:
    named = set(
        re.findall(
            r"`(\w+)`",
            " ".join(row.split("|")[1] for row in TABLE.splitlines() if row.startswith("|")),
        )
    )
    declared = {field.alias for name, field in Settings.model_fields.items() if name not in SECRET}
    assert named == declared


@pytest.mark.parametrize("path", sorted(set(re.findall(r"deploy/slackbot/[\w.-]+\w", DOCUMENT))))
def test_every_file_exists(path: str) -> None:
    assert (REPOSITORY / path).is_file()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\]\((images/[\w.-]+)\)", DOCUMENT))))
def test_every_picture_exists(name: str) -> None:
    assert (REPOSITORY / "docs" / name).is_file()


def test_the_example_is_a_valid_file() -> None:
    values = yaml.safe_load(EXAMPLE)
    tokens = {"botToken": "xoxb-1", "appToken": "xapp-1"}
    settings = Settings.model_validate(values | tokens)
    assert settings.channel_for("INC-7")


@pytest.mark.parametrize("verb", [verb for verb in Verb if verb is not Verb.HELP])
def test_every_subcommand_is_described(verb: Verb) -> None:
    assert re.search(rf"`(/checkpoint )?{verb}\b", DOCUMENT)
