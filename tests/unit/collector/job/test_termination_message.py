"""The termination message, as the operator reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collector.job.termination_message import DEFINITE, LIMIT, of_error, write_message
from forensics_core.errors import (
    CredentialsExpired,
    DestinationUnreachable,
    ForensicsError,
    ObjectExists,
    RuntimeUnavailable,
    UsageError,
)
from forensics_core.operator.attempt.pods import outcome


def hint(words: bytes) -> tuple[str, str, bool]:
    """Return what the operator makes of a message."""
    ended = {"exitCode": 1, "reason": "Error", "message": words.decode()}
    status: dict[str, Any] = {"name": "collector", "state": {"terminated": ended}}
    said = outcome(None, {"status": {"containerStatuses": [status]}})
    return said.reason, said.message, said.retry


@pytest.mark.parametrize("kind", DEFINITE)
def test_what_would_fail_again_is_not_tried_again(kind: type[ForensicsError]) -> None:
    assert hint(of_error(kind("No", hint="Do"))) == (kind.__name__, "No. Do.", False)


@pytest.mark.parametrize(
    "kind", [ObjectExists, RuntimeUnavailable, DestinationUnreachable, CredentialsExpired]
)
def test_what_may_pass_is_tried_again(kind: type[ForensicsError]) -> None:
    assert hint(of_error(kind("No"))) == (kind.__name__, "No.", True)


def test_the_unexpected_is_tried_again_and_named() -> None:
    words = of_error(ZeroDivisionError("division by zero"))
    expected = ("ZeroDivisionError", "ZeroDivisionError: division by zero", True)
    assert hint(words) == expected


@pytest.mark.parametrize("letter", ["x", "\x00", "ü", "\U0001f600"])
def test_a_long_message_is_cut_and_stays_json(letter: str) -> None:
    words = of_error(UsageError(letter * 5000))
    assert len(words) <= LIMIT
    said = json.loads(words)
    assert said["message"].startswith(letter * 100) and said["reason"] == "UsageError"


def test_the_file_is_the_one_that_is_named(tmp_path: Path) -> None:
    write_message(b"{}", {"FORENSICS_TERMINATION_LOG": str(tmp_path / "log")})
    assert (tmp_path / "log").read_bytes() == b"{}"


def test_a_file_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    write_message(b"{}", {"FORENSICS_TERMINATION_LOG": str(tmp_path / "none" / "log")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("there", [True, False])
def test_the_kubelets_file_is_written_only_where_there_is_one(there: bool, tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    if there:
        log.touch()
    write_message(b"{}", {}, log)
    assert log.exists() == there
    assert not there or log.read_bytes() == b"{}"
