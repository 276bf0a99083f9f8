"""Text on its way in and out."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackbot.text import UNSEEN, clean, clip, escape, unmarked


@given(st.text())
def test_whatever_comes_becomes_one_visible_line(text: str) -> None:
    line = clean(text, 50)
    assert len(line) <= 50
    assert "`" not in line
    assert not [sign for sign in line if unicodedata.category(sign) in UNSEEN]


def test_what_is_cut_ends_in_an_ellipsis() -> None:
    assert clip("abcdef", 4) == "abc\u2026"
    assert clip("abcd", 4) == "abcd"


@given(st.text())
def test_no_markup_survives_escaping(text: str) -> None:
    assert not {"<", ">"} & set(escape(text))
    back = escape(text).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert back == text


@pytest.mark.parametrize(
    ("marked", "seen"),
    [
        ("a &amp;lt; b &lt;x&gt;", "a &lt; b <x>"),
        ("<https://x.example/a|the page>, <https://y.example>", "the page, https://y.example"),
        ("<@U0ALICE> <@U0BOB|bob> <#C0INC|incident> <!here> <!subteam^S1|@team>",
         "@U0ALICE @bob #incident @here @team"),
        ("5 < 6 > 4", "5 < 6 > 4"),
    ],
)  # fmt: skip
def test_slacks_markup_becomes_what_people_see(marked: str, seen: str) -> None:
    assert unmarked(marked) == seen
