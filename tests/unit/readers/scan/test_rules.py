"""Files of rules, and what is shown of a match."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from forensics_core.errors import ForensicsError, UsageError
from forensics_core.readers.scan.rules import MAX_SOURCE, compile_rules, escaped


def test_without_yara_x_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yara_x", None)
    with pytest.raises(ForensicsError, match="YARA rules needs 'yara_x'") as caught:
        compile_rules([tmp_path / "rules.yar"], 60)
    assert "'.[scan]'" in caught.value.hint and caught.value.exit_code == 1


def test_a_file_of_rules_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "rules.yar").open("wb") as file:
        file.truncate(MAX_SOURCE + 1)
    with pytest.raises(UsageError, match="Split it"):
        compile_rules([tmp_path / "rules.yar"], 60)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain", "plain"),
        (b"\x1b[2J\n\x00\x7f", r"\x1b[2J\x0a\x00\x7f"),
        (b"it's", "it's"),
        (b"both ' and \"", "both ' and \""),
        (b"back\\slash", r"back\\slash"),
        ("\u202e".encode(), r"\xe2\x80\xae"),
    ],
)
def test_what_is_shown_of_a_match_is_printable_ascii(data: bytes, shown: str) -> None:
    assert escaped(data) == shown
    assert shown.isascii() and shown.isprintable()
