"""Where a container's processes come from is known."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from collector.node.ancestry import Ancestry
from collector.node.procfs import HOST_PROC


def test_those_above_lead_to_the_first_process_of_the_machine() -> None:
    with subprocess.Popen(["sleep", "1000"]) as child:
        family = Ancestry.of(child.pid, [child.pid])
        child.kill()
    rows = family.rows()
    assert next(iter(family.above)) == os.getpid() and rows[0]["ppid"] == 0
    assert rows[-1]["pid"] == os.getpid() and Path(sys.executable).name in str(rows[-1]["cmdline"])


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for pid, parent in ((1, 0), (5, 1), (6, 5), (70, 5), (71, 70), (72, 6), (73, 99)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / f"{pid}/status").write_text(f"Name:\tx\nPPid:\t{parent}\n")
        (tmp_path / f"{pid}/comm").write_text("x\n")
        (tmp_path / f"{pid}/cmdline").write_bytes(b"x\0-y\0")
    monkeypatch.setenv(HOST_PROC, str(tmp_path))
    return tmp_path


def test_who_was_started_from_outside(proc: Path) -> None:
    family = Ancestry.of(70, [70, 71, 72, 73, 74])
    assert [pid for pid in (70, 71, 72, 73, 74) if family.entered(pid)] == [72, 73]
    assert family.above == {5: 1, 1: 0, 6: 5, 99: 0}
    assert [row["pid"] for row in family.rows()] == [6, 1, 5]
    assert family.rows()[0]["cmdline"] == ["x", "-y"]


def test_no_more_are_followed_than_there_is_room_for(proc: Path) -> None:
    assert Ancestry.of(70, [70, 72], limit=1).above == {5: 1}
