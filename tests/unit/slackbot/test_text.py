"""Text on its way in and out."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from slackbot.text import UNSEEN, clean, clip, escape


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
