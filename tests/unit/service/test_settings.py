"""Settings from a file: what is read, what is refused, and what is said then."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr

from forensics_core.errors import UsageError
from forensics_core.service.settings import check_settings, read_settings

PAGE = "docs/example.md"


class Example(BaseModel, extra="forbid"):
    """Settings of a program."""

    token: SecretStr
    port: int = 8080


@pytest.mark.parametrize("content", [b"\xff", b"{", b"- a", b"text"])
def test_a_file_that_holds_no_settings_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_settings(path, document=PAGE)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", ["", "# nothing yet", "{}"])
def test_an_empty_file_says_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(content)
    assert read_settings(path, document=PAGE) == {}
    assert read_settings(None, document=PAGE) == {}


def test_a_setting_from_the_environment_is_named_by_its_variable() -> None:
    with pytest.raises(UsageError, match=r"The environment: THE_TOKEN: .*example\.md"):
        check_settings(Example, {}, None, document=PAGE, variables={"token": "THE_TOKEN"})


def test_a_secret_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        check_settings(Example, {"token": ["hunter2"]}, None, document=PAGE)
    assert "hunter2" not in str(caught.value)
