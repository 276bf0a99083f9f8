"""The collector lowers its priority, and its children's."""

from __future__ import annotations

import os
import subprocess
import sys

from collector.gentle import NICENESS

SCRIPT = """
import os, subprocess, sys
from collector.gentle import be_gentle
if len(sys.argv) > 1:
    os.setpriority(os.PRIO_PROCESS, 0, int(sys.argv[1]))
be_gentle()
print(subprocess.run(["nice"], check=True, capture_output=True, text=True).stdout)
"""


def niceness(*arguments: str) -> int:
    command = [sys.executable, "-c", SCRIPT, *arguments]
    return int(subprocess.run(command, check=True, capture_output=True).stdout)


def test_children_are_as_nice() -> None:
    assert niceness() == max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0))


def test_nobody_becomes_less_nice() -> None:
    assert niceness("15") == 15
