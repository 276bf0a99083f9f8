from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.process import LabError, daemon, in_thread, wait_until_ready

ROOT = Path(__file__).parents[3]
PROGRAM = """
import pathlib, signal, sys
from lab.process import daemon, end_politely
end_politely()
with daemon(["sleep", "1000"], pathlib.Path(sys.argv[1])) as process:
    print(process.pid, flush=True)
    signal.pause()
"""


def test_a_daemon_ends_with_its_block_and_takes_its_children_along(tmp_path: Path) -> None:
    script = f"sleep 1000 & echo $! > {tmp_path}/child; wait"
    with daemon(["sh", "-c", script], tmp_path / "log") as process:
        wait_until_ready("sh", (tmp_path / "child").exists, process, tmp_path / "log")
    assert process.returncode == -signal.SIGKILL
    while Path("/proc", (tmp_path / "child").read_text().strip()).exists():
        time.sleep(0.01)  # until init has reaped it; if it lives on, the test runs out of time


def test_a_daemon_may_be_given_time_to_end(tmp_path: Path) -> None:
    script = f"trap 'exit 7' TERM; touch {tmp_path}/ready; while :; do sleep 0.01; done"
    with daemon(["sh", "-c", script], tmp_path / "log", grace=30) as process:
        wait_until_ready("sh", (tmp_path / "ready").exists, process, tmp_path / "log")
    assert process.returncode == 7


def test_a_daemon_that_dies_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (
        daemon(["sh", "-c", "echo no space left; exit 3"], log) as process,
        pytest.raises(LabError, match="sh ended with 3: no space left"),
    ):
        wait_until_ready("sh", lambda: False, process, log)


def test_a_daemon_that_never_answers_is_an_error(tmp_path: Path) -> None:
    with (
        daemon(["sleep", "1000"], tmp_path / "log") as process,
        pytest.raises(LabError, match="did not answer"),
    ):
        wait_until_ready("sleep", lambda: False, process, tmp_path / "log", seconds=0)


def test_a_terminated_program_leaves_no_daemon_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "log")]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as program:
        assert program.stdout
        pid = int(program.stdout.readline())
        program.terminate()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_blocking_manager_is_left_when_its_block_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ours"):
        async with in_thread(daemon(["sleep", "1000"], tmp_path / "log")) as process:
            raise ValueError("ours")
    assert process.returncode == -signal.SIGKILL
