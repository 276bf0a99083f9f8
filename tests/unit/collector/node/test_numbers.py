"""Processes are found by asking for their numbers."""

import os
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.node.numbers import RESERVE, Probe, highest, latest, same_pid_namespace

PROC = Path("/proc")


@pytest.fixture
def child() -> Iterator[int]:
    with subprocess.Popen(["sleep", "1000"]) as running:
        yield running.pid
        running.kill()


def probe(proc: Path = PROC, seconds: float = 60) -> Probe:
    return Probe(proc, time.monotonic() + seconds)


def test_numbers_of_processes_by_kill(child: int) -> None:
    assert [*probe().look([child, os.getpid(), 2**22 + 1], {os.getpid()})] == [child]


def test_threads_have_numbers_too() -> None:
    held = threading.Event()
    thread = threading.Thread(target=held.wait)
    thread.start()
    try:
        assert [*probe().look([thread.native_id or 0], ())] == [thread.native_id]
    finally:
        held.set()
        thread.join()


def test_numbers_in_another_proc_by_looking(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "9").mkdir()
    assert [*probe(tmp_path).look(range(1, 10), {9})] == [7]
    assert not same_pid_namespace(tmp_path) and same_pid_namespace(PROC)


def test_numbers_that_there_is_no_time_for_are_counted() -> None:
    late = probe(seconds=-1)
    assert [*late.look(range(1, 101), {5})] == [] and late.left == 99


def test_four_million_numbers_are_not_held_at_once() -> None:
    tracemalloc.start()
    try:
        assert [*probe(seconds=-1).look(range(1, 2**22), {5})] == []
        assert tracemalloc.get_traced_memory()[1] < 1024**2
    finally:
        tracemalloc.stop()


def test_no_more_numbers_than_were_ever_given_out(tmp_path: Path) -> None:
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "sys/kernel/pid_max").write_text("4194304\n")
    (tmp_path / "stat").write_text("cpu 1 2\nprocesses 5000\n")
    assert highest(tmp_path) == 5000 + RESERVE
    (tmp_path / "stat").write_text("cpu 1 2\n")
    assert highest(tmp_path) == 4194304
    assert highest(tmp_path / "none") == 0


def test_the_latest_number_is_our_own_at_least(tmp_path: Path) -> None:
    assert latest(PROC) == os.getpid() and latest(tmp_path) == 0
