from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.measure import measure
from bench.processes import PeakMemory, children, cpu_seconds, daemon_behind
from lab.docker import DockerEngine
from lab.images import MiB
from lab.process import LabError

ENV = {"PATH": os.defpath, "PYTHON": sys.executable}
HOLD = '"$PYTHON" -c "import time; held = bytearray(60 << 20); time.sleep(0.2)"'
MEET = """
import os, sys, time
held = bytearray(60 << 20)
os.mkdir(sys.argv[1])
while len(os.listdir()) < 2:
    time.sleep(0.01)
time.sleep(0.5)
"""


def test_the_largest_process_and_all_of_them_together(tmp_path: Path) -> None:
    script = '"$PYTHON" -c "$MEET" one & "$PYTHON" -c "$MEET" two; wait'
    cost = measure(script, folder=tmp_path, env={**ENV, "MEET": MEET})
    assert 60 * MiB < cost.peak < 100 * MiB
    assert 120 * MiB < cost.peak_together < 200 * MiB
    assert cost.wall > 0.5


def test_processes_one_after_the_other_do_not_add_up(tmp_path: Path) -> None:
    cost = measure(f"{HOLD}; {HOLD}", folder=tmp_path, env=ENV)
    assert 60 * MiB < cost.peak_together < 100 * MiB


@contextmanager
def holding(then: str) -> Iterator[int]:
    """Run a Python for the block that holds 60 MiB and has done `then`; yield its number."""
    code = f"import os, subprocess, time\nheld = bytearray(60 << 20)\n{then}\nprint(flush=True)"
    command = [sys.executable, "-c", f"{code}\ntime.sleep(60)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_a_process_that_was_seen_only_once_counts() -> None:
    with holding('subprocess.Popen(["sleep", "60"])') as pid:
        tree = PeakMemory(pid)
        tree.sample()
        once = tree.together
        os.kill(children(pid)[0], signal.SIGKILL)
        tree.sample()
    assert tree.together == once > tree.largest > 60 * MiB


def test_a_child_that_is_still_its_parent_counts_only_if_it_stays_so() -> None:
    with holding("if not os.fork(): time.sleep(60)") as pid:
        tree = PeakMemory(pid)
        tree.sample()
        assert 60 * MiB < tree.together < 100 * MiB
        tree.sample()
        assert 120 * MiB < tree.together < 200 * MiB


def test_the_benchmarks_own_memory_is_nobody_elses(tmp_path: Path) -> None:
    ours = bytearray(200 * MiB)
    cost = measure("sleep 0.1; sleep 0.1", folder=tmp_path, env=ENV)
    assert cost.peak_together < len(ours) // 4


def test_cpu_time_of_children_counts(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    cost = measure(f"\"$PYTHON\" -c '{burn}' | cat", folder=tmp_path, env=ENV)
    assert 0.3 <= cost.cpu < 30


def test_files_that_were_deleted_count_as_written(tmp_path: Path) -> None:
    script = f"head -c {8 * MiB} /dev/zero > a; sync a; rm a; head -c {MiB} /dev/zero > b"
    cost = measure(script, folder=tmp_path, env=ENV)
    kind = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, check=True)
    if kind.stdout == b"tmpfs\n":  # There, the kernel counts no writes.
        assert cost.written == MiB
    else:
        assert 9 * MiB <= cost.written < 10 * MiB


def test_output_is_not_a_file(tmp_path: Path) -> None:
    cost = measure(f"head -c {4 * MiB} /dev/zero", folder=tmp_path, env=ENV)
    assert cost.written == 0


@pytest.mark.parametrize("script", ["echo it broke; exit 3", "{ echo it broke; exit 3; } | cat"])
def test_a_script_that_fails_is_an_error_with_its_words(tmp_path: Path, script: str) -> None:
    with pytest.raises(LabError, match="ended with 3: it broke"):
        measure(script, folder=tmp_path, env=ENV)


def test_an_interrupted_measurement_leaves_no_process(tmp_path: Path) -> None:
    before = children(os.getpid())

    def interrupt() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        measure("touch ready; sleep 50", folder=tmp_path, env=ENV)
    thread.join()
    assert children(os.getpid()) == before


def test_the_engines_process_is_found_by_its_socket(docker: DockerEngine) -> None:
    pid = daemon_behind(docker.host, "dockerd")
    assert pid
    assert cpu_seconds(pid) > 0
    assert daemon_behind(docker.host, "something-else") is None
