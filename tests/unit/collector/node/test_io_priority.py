"""The collector lower_layers its priority, and its children's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from collector.node.io_priority import NICENESS, lower_priorities

SCRIPT = """
import os, subprocess, sys
from collector.node.io_priority import lower_priorities
if len(sys.argv) > 1:
    os.setpriority(os.PRIO_PROCESS, 0, int(sys.argv[1]))
lower_priorities()
for command in ("nice", "ionice"):
    print(subprocess.run([command], check=True, capture_output=True, text=True).stdout.strip())
"""


def said_by_children(*arguments: str, under: Sequence[str] = ()) -> list[str]:
    command = [*under, sys.executable, "-c", SCRIPT, *arguments]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return run.stdout.splitlines()


def niceness(*arguments: str) -> int:
    return int(said_by_children(*arguments)[0])


def test_children_are_as_nice() -> None:
    assert niceness() == max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0))


def test_nobody_becomes_less_nice() -> None:
    assert niceness("15") == 15


def test_children_come_last_at_the_disk() -> None:
    assert said_by_children()[1] == "best-effort: prio 7"


def test_nobody_leaves_the_idle_class() -> None:
    assert said_by_children(under=("ionice", "-c", "3"))[1] == "idle"


def test_a_machine_whose_system_calls_are_unknown_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "pdp11")
    before = os.getpriority(os.PRIO_PROCESS, 0)
    monkeypatch.setattr("collector.node.io_priority.NICENESS", before)
    lower_priorities()
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
