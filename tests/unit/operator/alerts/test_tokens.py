"""Who may send alerts."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

import pytest

from forensics_core.operator.alerts.tokens import Tokens

TOKEN = "0123456789abcdef0123"  # noqa: S105
OTHER = "another-token-of-20-"


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("given", "fine"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer   {TOKEN}  ", True),
        (f"Bearer {OTHER}", True),
        (basic(f"falco:{TOKEN}"), True),
        ("", False),
        ("Bearer", False),
        ("Bearer ", False),
        (f"Bearer {TOKEN}x", False),
        (f"Bearer {TOKEN[:-1]}", False),
        (TOKEN, False),
        (f"Token {TOKEN}", False),
        (basic(f"{TOKEN}:x"), False),
        ("Basic !!!", False),
        ("Basic " + base64.b64encode(b"\xff\xfe").decode(), False),
        ("Bearer short", False),
        ("Bearer t\udcffken", False),
    ],
)
async def test_the_header_holds_one_of_the_tokens(tmp_path: Path, given: str, fine: bool) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n\n{OTHER}\nshort\n")
    assert await Tokens(file).admit(given) is fine


@pytest.mark.parametrize("content", [None, "", "short\n", "\n\n"])
async def test_without_a_token_nobody_is_admitted_and_the_log_says_why(
    tmp_path: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with caplog.at_level(logging.ERROR):
        assert not await Tokens(file).admit("Bearer ")
        assert not await Tokens(file).admit("Bearer short")
    assert "No alert is taken" in caplog.text


async def test_a_new_token_counts_and_an_old_one_no_longer(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    tokens, slow = Tokens(file, fresh=0), Tokens(file, fresh=3600)
    assert await tokens.admit(f"Bearer {TOKEN}")
    assert await slow.admit(f"Bearer {TOKEN}")
    file.write_text(OTHER)
    assert not await tokens.admit(f"Bearer {TOKEN}")
    assert await tokens.admit(f"Bearer {OTHER}")
    assert await slow.admit(f"Bearer {TOKEN}")
