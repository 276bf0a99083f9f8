"""Commands as people type them, and as phones change them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slackbot.command import CaptureRequest, OpenForm, Subcommand, Verb, capture_request, parse
from slackbot.errors import UserMessage

WEB = CaptureRequest("web-0", "shop")


@pytest.mark.parametrize(
    "typed",
    [
        "web-0 -n shop",
        "-n shop web-0",
        "web-0 --namespace=shop",
        "web-0 --namespace shop",
        "shop/web-0",
        "web-0 \u2014namespace shop",
        "web-0 \u2013n shop",
        "web-0 \u2013-namespace shop",
        "web\u20130 -n shop",
        "web\u20110\u00a0-n shop",
        '"web-0" -n \u2018shop\u2019',
    ],
)
def test_equivalent_spellings_parse_alike(typed: str) -> None:
    assert parse(typed) == WEB


def test_the_default_namespace_is_used_where_none_is_given() -> None:
    assert parse("web-0", "shop") == WEB
    assert parse("web-0 -n prod", "shop") == CaptureRequest("web-0", "prod")


def test_parses_all_options() -> None:
    typed = (
        "web-0 -n shop -c app --container=side --reason 'odd  traffic' --incident INC-7 --dry-run"
    )
    expected = CaptureRequest(
        "web-0", "shop", ("app", "side"), "odd  traffic", "INC-7", dry_run=True
    )
    assert parse(typed) == expected


def test_an_empty_command_opens_the_form() -> None:
    assert parse("  ") == OpenForm()


@pytest.mark.parametrize("verb", ["list", "whoami", "help"])
def test_parses_subcommands_without_a_name(verb: str) -> None:
    assert parse(verb) == Subcommand(Verb(verb))


@pytest.mark.parametrize("verb", ["status", "cancel", "retry", "verify"])
def test_parses_subcommands_with_a_name(verb: str) -> None:
    assert parse(f"{verb} web-0-4711") == Subcommand(Verb(verb), "web-0-4711")


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("web-0 -n -c", "error.value"),
        ("web-0 -n shop -x", "error.option"),
        ("Web-0 -n shop", "error.name"),
        ("web-0 -n shop -c a/b", "error.name"),
        ("status a b", "error.id"),
        ('"', "error.quotes"),
        ("--dry-run", "error.pod"),
    ],
)
def test_an_error_names_the_problem(typed: str, key: str) -> None:
    with pytest.raises(UserMessage) as caught:
        parse(typed)
    assert caught.value.key == key
    assert "/checkpoint web-0 -n shop" in caught.value.text("en")
    assert "Nicht verstanden" in caught.value.text("de")


def test_the_reason_is_limited_like_the_resource() -> None:
    assert capture_request("web-0", "shop", reason="x" * 1024).reason == "x" * 1024
    with pytest.raises(UserMessage):
        capture_request("web-0", "shop", reason="x" * 1025)


@given(st.text())
@example("--reason=")
@example("\\")
def test_any_text_is_parsed_or_a_user_message(typed: str) -> None:
    with contextlib.suppress(UserMessage):
        parse(typed)
