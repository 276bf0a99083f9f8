"""What is left on a terminal's screen, and what becomes of it in a picture."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from lab.process import LabError
from lab.recording import draw, part, record, settled

DRAWN_TWICE = "$ verify\r\n\x1b[?25l\x1b[2K10 %\r\n\r\x1b[1A\x1b[2K100 %\r\n\x1b[?25hVerified\r\n"


def test_a_bar_remains_as_it_was_drawn_last() -> None:
    assert settled(DRAWN_TWICE) == "$ verify\n100 %\nVerified\n"


def test_a_terminal_is_recorded() -> None:
    assert settled(record(["/bin/sh", "-c", "test -t 1 && echo terminal"])) == "terminal\n"


def test_what_fails_is_no_recording() -> None:
    with pytest.raises(LabError, match=r"ended with 3: .*oops"):
        record(["/bin/sh", "-c", "echo oops; exit 3"])


def test_a_part_ends_at_the_next_heading() -> None:
    screen = "== 1. One ==\nfirst\n\n\x1b[1m== 2. Two ==\x1b[0m\nsecond\n"
    assert "first" in part(screen, "== 1.")
    assert "second" not in part(screen, "== 1.")
    assert part(screen, "== 2.") == "second"


def test_a_picture_needs_nothing_from_elsewhere() -> None:
    picture = draw("\x1b[1mVerified\x1b[0m: <3> artifacts")
    ElementTree.fromstring(picture)  # noqa: S314  # made a line above
    assert "Verified" in picture
    assert "font-face" not in picture
