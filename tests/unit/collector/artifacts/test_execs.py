"""Exec sessions are told with their commands, of which megabytes cost no megabytes."""

from __future__ import annotations

import json
from pathlib import Path

from collector.artifacts import execs
from collector.artifacts.execs import summary
from collector.runtimes.runtime import RuntimeProcesses
from tests.unit.collector.artifacts.test_found import capture_for


def test_the_summary_of_a_process_has_the_beginning_of_its_command() -> None:
    row = {"cmdline": ["sh", "y" * 10**6], "ppid": 1, "environ": ["A=b"]}
    assert summary(row) == {"cmdline": ["sh"], "ppid": 1, "cmdlineTruncated": True}
    assert summary({"cmdline": ["sh"]}) == {"cmdline": ["sh"]}
    assert summary({"cmdline": {"base64": "x" * 10**6}}) == {
        "cmdline": None,
        "cmdlineTruncated": True,
    }
    assert summary({"cmdline": None}) == {"cmdline": None}


async def test_a_number_that_a_session_had_may_be_another_processs(tmp_path: Path) -> None:
    """One that ended says nothing of who has its number now."""
    sessions = tuple({"id": key, "pid": 7, "running": key == "b"} for key in "ab")
    capture = capture_for(tmp_path)
    await execs.store(capture, RuntimeProcesses(execs=sessions), {7: {"cmdline": ["sh"]}})
    (first, second) = json.loads((tmp_path / "bundle/containers/web/execs.json").read_bytes())[
        "execs"
    ]
    assert first["process"] is None and second["process"] == {"cmdline": ["sh"]}
    capture = capture_for(tmp_path / "again")
    await execs.store(capture, RuntimeProcesses(execs=sessions[:1]), {7: {"cmdline": ["sh"]}})
    again = json.loads((tmp_path / "again/bundle/containers/web/execs.json").read_bytes())["execs"]
    assert [row["id"] for row in again] == ["a", None]
