"""The calls that stop threads, and the program that makes them, without the collector."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from collector.memory.elf import MACHINES
from collector.memory.ptrace import Tracees
from collector.memory.tracer import GOING, HEAD, LEAVING, RECORD
from tests.unit.collector.memory.subjects import Subject, subject

LONG = 600.0
"""Seconds that no test lasts."""
THREADS = """
for _ in range(4):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
tell(1)
"""


def tracees_of(process: Subject, limit: int = 100) -> Tracees:
    return Tracees(Path(f"/proc/{process.pid}/task"), limit)


def test_threads_stop_with_their_registers_and_go_on() -> None:
    with subject(THREADS) as process:
        tracees = tracees_of(process)
        tracees.stop(LONG)
        rows = [*tracees.registers()]
        assert len(rows) == len(tracees.stopped) == tracees.threads == 5
        size = MACHINES[os.uname().machine].registers
        assert all(len(general) == size and floating for _, general, floating in rows)
        assert tracees.release()
        assert not tracees.stopped


def test_more_threads_than_may_be_stopped() -> None:
    with subject(THREADS) as process:
        tracees = tracees_of(process, 2)
        tracees.stop(LONG)
        assert (len(tracees.stopped), tracees.threads) == (2, 5)
        assert tracees.release()


def test_a_process_that_may_not_be_traced() -> None:
    tracees = Tracees(Path("/proc/self/task"), 100)
    tracees.stop(LONG)  # nobody can trace themselves
    assert tracees.error and not tracees.stopped
    assert tracees.release()


def test_a_process_that_is_gone(tmp_path: Path) -> None:
    tracees = Tracees(tmp_path / "none", 100)
    tracees.stop(LONG)
    assert (tracees.threads, tracees.error) == (0, 0)


@pytest.mark.parametrize("killed", [False, True])
def test_the_tracer_answers_and_ends_with_its_input(killed: bool) -> None:
    with (
        subject("tell(1)") as process,
        subprocess.Popen(
            [sys.executable, "-m", "collector.memory.tracer", "/proc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as tracer,
    ):
        assert tracer.stdin and tracer.stdout
        tracer.stdin.write(b"%d 600 100 600\n" % process.pid)
        tracer.stdin.flush()
        total, stopped, error, size = HEAD.unpack(tracer.stdout.read(HEAD.size))
        assert (total, stopped, error) == (1, 1, 0)
        number, general, floating = RECORD.unpack_from(tracer.stdout.read(size))
        assert number == process.pid and RECORD.size + general + floating == size
        if killed:
            process.process.kill()
        tracer.stdin.write(b"\n")
        tracer.stdin.flush()
        assert tracer.stdout.read(1) == (LEAVING if killed else GOING)
        tracer.stdin.close()
        assert tracer.wait() == 0


def test_a_tracer_whose_input_closes_lets_go() -> None:
    with subject("tell(1)\nhear()\ntell(7)") as process:
        done = subprocess.run(
            [sys.executable, "-m", "collector.memory.tracer", "/proc"],
            input=b"%d 600 100 600\n" % process.pid,
            capture_output=True,
            check=True,
        )
        assert HEAD.unpack_from(done.stdout)[1] == 1 and not done.stderr
        assert process.go_on() == [7]
