"""Both languages say the same things, and every one that the code asks for."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

import slackbot
from forensics_core.readers.findings.finding import Rule
from slackbot.catalogue import LANGUAGES, language_of, phrase, rule_title
from slackbot.catalogue.english import ENGLISH
from slackbot.catalogue.german import GERMAN

SOURCES = [
    path for path in Path(slackbot.__file__).parent.rglob("*.py") if "catalogue" not in str(path)
]


def fields(phrase: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(phrase) if name}


@pytest.mark.parametrize("key", sorted(ENGLISH.keys() | GERMAN.keys()))
def test_both_languages_have_the_same_fields(key: str) -> None:
    assert fields(ENGLISH[key]) == fields(GERMAN[key])


def test_every_phrase_is_used_and_defined() -> None:
    code = "\n".join(path.read_text() for path in SOURCES)
    named = set(re.findall(r'"((?:[a-z]+)(?:\.[a-zA-Z0-9]+)+)"', code))
    families = {"root", "state", "step", "button", "confirm", "post", "seal", "table", "approval"}
    families |= {"refused", "error", "answer", "help", "form", "home", "plan"}
    families |= {"incident", "isolated", "poddeleted", "rule", "batch", "preview"}
    asked = {key for key in named if key.partition(".")[0] in families}
    made = set(re.findall(r'f"([a-z]+)\.\{', code)) | {"form"}
    assert asked <= ENGLISH.keys() | {"form.py"}
    assert {key for key in ENGLISH.keys() - asked if key.partition(".")[0] not in made} == set()


@pytest.mark.parametrize("rule", Rule)
def test_every_rule_of_the_operator_is_called_something_in_both_languages(rule: Rule) -> None:
    assert rule_title("en", rule, 1) == rule.summary
    assert rule_title("en", rule, 7) == rule.several(7)
    assert rule_title("de", rule, 7).startswith("7 ") and rule_title("de", rule, 1)
    assert rule_title("de", rule, 1) != rule.summary


def test_a_rule_of_another_release_has_no_title() -> None:
    assert rule_title("de", "of-tomorrow", 1) == ""


def test_both_languages_know_the_same_phrases() -> None:
    assert LANGUAGES["en"].keys() == LANGUAGES["de"].keys()


def test_values_are_cleaned() -> None:
    said = phrase("en", "root.reason", reason="a\nb `c` \u202e{state}")
    assert said == "Reason: a b 'c' \\u202e{state}"


@pytest.mark.parametrize(
    ("locale", "language"),
    [("de-DE", "de"), ("de", "de"), ("en-GB", "en"), ("fr-FR", "en"), ("", "en")],
)
def test_languages_by_locale(locale: str, language: str) -> None:
    assert language_of(locale) == language


def test_the_default_language_is_configurable() -> None:
    assert language_of("fr-FR", "de") == "de"
