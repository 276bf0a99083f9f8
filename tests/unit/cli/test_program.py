"""How the command ends: at once, and never before what it has to say is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

ENDING = """
import atexit, os, sys, threading
from forensics_core.cli.program import leave


class Kept:
    def __del__(self):
        os.write(2, b"taken apart")


kept = Kept()
atexit.register(print, "asked for")
print("said", end=" ")
"""


def ends(script: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ENDING + dedent(script)]
    return subprocess.run(
        command,
        env=os.environ | {"PYTHONUNBUFFERED": ""},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


def test_everything_is_said_and_nothing_is_taken_apart() -> None:
    done = ends("leave(4)")
    assert (done.returncode, done.stdout, done.stderr) == (4, "said asked for\n", "")


def test_a_thread_that_is_waited_for_ends_first() -> None:
    done = ends("""
        go = threading.Event()
        threading.Thread(target=lambda: (go.wait(), print("worked"))).start()
        leave(4)
        go.set()
    """)
    assert (done.returncode, done.stdout) == (0, "said worked\nasked for\n")
    assert done.stderr == "taken apart"


def test_a_thread_that_was_left_behind_is_not_waited_for() -> None:
    done = ends("""
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        leave(0)
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "said asked for\n", "")


def test_output_that_cannot_be_written_is_complained_about_as_ever() -> None:
    with Path("/dev/full").open("wb") as full:
        done = ends("leave(0)", full.fileno())
    assert done.returncode == 120
    assert "No space left on device" in done.stderr


def test_the_command_leaves_with_the_exit_code_of_what_failed() -> None:
    script = """
        sys.argv = ["forensics", "verify", "/nothing/here"]
        from forensics_core.cli.main import main
        main()
    """
    done = ends(script)
    assert (done.returncode, done.stdout) == (1, "said asked for\n")
    assert done.stderr.startswith("Error: There is nothing at")
    assert "taken apart" not in done.stderr
