"""What people read when something fails: sentences, each with one full stop."""

from __future__ import annotations

import pytest

from forensics_core.errors import ForensicsError


@pytest.mark.parametrize(
    ("message", "hint", "read"),
    [
        ("It failed", "", "It failed."),
        ("It failed", "Try again", "It failed. Try again."),
        ("They said: Access Denied.", "", "They said: Access Denied."),
        ("They said: Access Denied.", "Try again", "They said: Access Denied. Try again."),
    ],
)
def test_an_error_reads_as_sentences(message: str, hint: str, read: str) -> None:
    assert str(ForensicsError(message, hint=hint)) == read
