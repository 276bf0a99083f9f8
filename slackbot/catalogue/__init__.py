"""Everything the bot says, in each language it speaks."""

from __future__ import annotations

from slackbot.catalogue.english import ENGLISH
from slackbot.catalogue.findings import ENGLISH_RULES, GERMAN_RULES
from slackbot.catalogue.german import GERMAN
from slackbot.text import clean

LANGUAGES = {"en": ENGLISH | ENGLISH_RULES, "de": GERMAN | GERMAN_RULES}
VALUE_LIMIT = 1100
"""Characters of one value: a reason as long as the resource allows."""


def language_of(locale: str, default: str = "en") -> str:
    """Return the language for a locale such as `de-DE`."""
    language = locale.partition("-")[0].lower()
    return language if language in LANGUAGES else default


def phrase(language: str, key: str, **values: object) -> str:
    """Return a sentence with its values, which are made harmless on the way."""
    phrases = LANGUAGES.get(language, LANGUAGES["en"])
    # Cleaned here, in the one place that every text passes: no caller can forget it.
    return phrases[key].format(**{name: clean(one, VALUE_LIMIT) for name, one in values.items()})


def rule_title(language: str, rule: str, count: int) -> str:
    """Return what so many findings of an operator's rule are called; empty for a rule of others."""
    key = f"rule.{rule}" if count == 1 else f"rules.{rule}"
    return phrase(language, key, count=count) if key in LANGUAGES["en"] else ""
