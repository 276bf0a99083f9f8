from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from forensics_core.cli.render import (
    clean,
    clean_message,
    counted,
    duration,
    print_data,
    print_json,
    size,
    table,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name é 漢", "plain name é 漢"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines\t", "two\\nlines\\t"),
        ("abc\u202ecba", "abc\\u202ecba"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\x9b2J", "\\x9b2J"),
        ("\udcff\udc80", "\\xff\\x80"),
        ("\ud800", "\\ud800"),
        ("line\u2028end", "line\\u2028end"),
        ("web\ufe0f", "web\\ufe0f"),
        ("\u3164\u034f\u115f", "\\u3164\\u034f\\u115f"),
        ("\u2800\U0001d159", "\\u2800\\U0001d159"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("a\\nb", "a\\\\nb"),
    ],
)
def test_names_are_escaped(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_the_longest_path_is_shown_whole_and_more_is_cut() -> None:
    assert clean("a" * 4096) == "a" * 4096
    assert len(clean("a" * 100_000)) < 10_000


def test_prose_keeps_its_backslashes() -> None:
    assert clean_message("a\\x1b\x1b") == "a\\x1b\\x1b"


@given(st.text(st.characters(), max_size=30))
def test_whatever_comes_is_printable_on_one_line(text: str) -> None:
    shown = clean(text)
    shown.encode()
    assert len(shown.splitlines()) <= 1
    assert all(
        character == " " or character.isprintable() or character.isspace() for character in shown
    )


@given(st.text(max_size=20), st.text(max_size=20))
def test_different_names_look_different(one: str, other: str) -> None:
    assert (clean(one) == clean(other)) == (one == other)


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1536, "1.50 KiB"),
        (1 << 30, "1.00 GiB"),
        (1 << 61, "2048.00 PiB"),
    ],
)
def test_sizes(count: int, shown: str) -> None:
    assert size(count) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(0.9, "00:00"), (61, "01:01"), (3723, "1:02:03")])
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_counting() -> None:
    assert counted(4, "memory") == "4 memories"
    assert [counted(number, "file") for number in (0, 1, 2000)] == [
        "0 files",
        "1 file",
        "2,000 files",
    ]


def test_a_table_is_aligned_and_clean() -> None:
    rows = [["5 B", "a\x1b"], ["10 KiB", "b"]]
    assert table(["SIZE", "NAME"], rows, right="SIZE") == (
        "  SIZE  NAME\n   5 B  a\\x1b\n10 KiB  b"
    )


def test_json_is_ascii_and_exact(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"name": "\x1b\udcff é"}
    print_json(data)
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert json.loads(printed) == data


def test_yaml_says_what_json_says(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"phase": "Complete", "reason": "gone \x1b[2J meanwhile", "sizes": [1, None]}
    print_data(data, "yaml")
    text = capsys.readouterr().out
    assert yaml.safe_load(text) == data
    assert "\x1b" not in text
