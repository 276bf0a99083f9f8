"""Processes whose memory is to be stored."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from collector.artifacts.memory import _smallest_first
from collector.artifacts.processes import members
from collector.node.procfs import HOST_PROC
from forensics_core.api.order import ArtifactKind
from forensics_core.errors import SourceError
from tests.unit.collector.artifacts.test_found import Silent, capture_for

NEVER = 2**22 + 1
"""No process has this number."""


def test_one_that_ended_before_its_size_was_known_has_its_turn_and_is_told() -> None:
    assert _smallest_first([os.getpid(), NEVER]) == [NEVER, os.getpid()]


def test_one_that_nobody_waits_for_has_no_memory() -> None:
    with subprocess.Popen(["true"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert _smallest_first([ended.pid]) == []


async def test_memory_and_network_are_of_all_processes_that_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that left the cgroup is known by its parent, also where only its memory is wanted."""
    for pid, group, child in ((7, "box", "8"), (8, "elsewhere", "")):
        folder = tmp_path / f"{pid}"
        (folder / f"task/{pid}").mkdir(parents=True)
        (folder / f"task/{pid}/children").write_text(child)
        (folder / "ns").mkdir()
        (folder / "ns/pid").symlink_to("pid:[1]")
        (folder / "status").write_text(f"Name:\tx\nTgid:\t{pid}\nPPid:\t7\nNSpid:\t{pid}\n")
        (folder / "cgroup").write_text(f"0::/{group}\n")
    monkeypatch.setenv(HOST_PROC, str(tmp_path))
    capture = capture_for(tmp_path, Silent(7, SourceError("It is not asked")))
    assert await members(capture, ArtifactKind.MEMORY) == [7, 8]
