"""Processes whose memory is to be stored."""

from __future__ import annotations

import os
import subprocess

from collector.artifacts.memory import _smallest_first

NEVER = 2**22 + 1
"""No process has this number."""


def test_one_that_ended_before_its_size_was_known_has_its_turn_and_is_told() -> None:
    assert _smallest_first([os.getpid(), NEVER]) == [NEVER, os.getpid()]


def test_one_that_nobody_waits_for_has_no_memory() -> None:
    with subprocess.Popen(["true"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert _smallest_first([ended.pid]) == []
