"""Text on its way in and out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forensics_core._internal.text import printable
from slackbot.text import clean, clip, escape, unmarked


@given(st.text())
def test_any_text_becomes_one_visible_line(text: str) -> None:
    line = clean(text, 50)
    assert len(line) <= 50
    assert "`" not in line
    assert printable(line) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("two\r\nlines\u2028more", "two lines more"),
        ("web\ufe0f\u3164\u034f", r"web\ufe0f\u3164\u034f"),
        ("\u202exof\U000e0041", r"\u202exof\U000e0041"),
    ],
)
def test_what_is_invisible_or_steers_is_spelled(text: str, line: str) -> None:
    assert clean(text) == line


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
