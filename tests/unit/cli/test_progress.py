from __future__ import annotations

import io
import os
import subprocess
import sys

import anyio
import pytest
from anyio import from_thread
from rich.console import Console

from forensics_core.cli.progress import current_work, figures, progress
from forensics_core.pipeline.meter import Meter


class Pipe(io.StringIO):
    """A pipe whose reader can wait for its second line."""

    def __init__(self) -> None:
        super().__init__()
        self.two_lines = anyio.Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        if self.getvalue().count("\n") == 2:
            from_thread.run_sync(self.two_lines.set)
        return written


async def test_a_pipe_gets_plain_lines_while_it_lasts_and_one_at_the_end() -> None:
    pipe = Pipe()
    meter = Meter(artifacts_total=2, current="a\x1b")
    async with progress(meter, "Capturing", console=Console(file=pipe), interval=0.01):
        await pipe.two_lines.wait()
        meter.bytes_read = 2048
        meter.artifacts_done = 2
    lines = pipe.getvalue().splitlines()
    assert lines[0].startswith("Capturing: 0/2 artifacts  0 B  0 B/s  00:00  a\\x1b")
    assert lines[-1].startswith("Capturing: 2/2 artifacts  2.00 KiB")
    assert "\x1b" not in pipe.getvalue()


async def test_nothing_is_said_at_the_end_of_what_failed() -> None:
    pipe = io.StringIO()
    with pytest.raises(ValueError, match="broken"):
        async with progress(Meter(), "Capturing", console=Console(file=pipe)):
            raise ValueError("broken")
    assert pipe.getvalue() == ""


async def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    async with progress(Meter(), "Capturing", quiet=True):
        pass
    assert capsys.readouterr() == ("", "")


async def test_the_standard_error_is_where_it_goes(capsys: pytest.CaptureFixture[str]) -> None:
    async with progress(Meter(), "Capturing"):
        pass
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Capturing: 0 artifacts  0 B")


def test_a_pipe_needs_no_library_for_terminals() -> None:
    script = """
import anyio, os, sys
from forensics_core.cli.progress import progress
from forensics_core.pipeline.meter import Meter
async def show():
    async with progress(Meter(), "Capturing"):
        pass
anyio.run(show)
assert ("rich" in sys.modules) == bool(os.environ.get("FORCE_COLOR")), sys.modules.keys()
"""
    for environ in ({}, {"FORCE_COLOR": "1", "TERM": "dumb"}):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={"PATH": os.defpath, **environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith("Capturing: 0 artifacts")


async def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    pipe = io.StringIO()
    async with progress(Meter(), "Capturing", console=Console(file=pipe, force_terminal=True)):
        pass
    assert pipe.getvalue().startswith("Capturing: 0 artifacts")
    assert "\x1b" not in pipe.getvalue()


async def test_a_terminal_gets_a_bar() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, _environ={"TERM": "xterm"})
    meter = Meter(bytes_total=4096, bytes_read=1024, current="rootfs\x1b[2J.tar")
    async with progress(meter, "Verifying", console=console):
        pass
    assert "Verifying" in screen.getvalue()
    assert "━" in screen.getvalue()
    assert "1.00 KiB of 4.00 KiB" in screen.getvalue()
    assert "\x1b[2J" not in screen.getvalue()


async def test_without_colours_where_they_are_not_wanted() -> None:
    screen = io.StringIO()
    environ = {"TERM": "xterm", "NO_COLOR": "1"}
    console = Console(file=screen, force_terminal=True, width=100, _environ=environ)
    meter = Meter(artifacts_total=2, artifacts_done=1)
    async with progress(meter, "Verifying", console=console):
        pass
    assert "━" in screen.getvalue()
    assert "\x1b[3" not in screen.getvalue()
    assert "\x1b[9" not in screen.getvalue()


async def test_a_narrow_terminal_shows_all_that_is_said() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=60, _environ={"TERM": "xterm"})
    meter = Meter(current="The pod has not been scheduled to a node yet, and nobody knows why.")
    async with progress(meter, "Capturing", console=console):
        pass
    assert "0 artifacts  0 B  0 B/s  00:00" in screen.getvalue()
    assert "The pod has not been scheduled to a node yet" in screen.getvalue()
    assert "knows why." in screen.getvalue()


def test_figures_leave_out_what_is_not_known() -> None:
    assert figures(Meter(bytes_read=10)).startswith("0 artifacts  10 B  ")


def test_nothing_is_current_work_once_all_is_done() -> None:
    assert current_work(Meter(artifacts_total=3, artifacts_done=2, current="x")) == "x"
    assert current_work(Meter(artifacts_total=3, artifacts_done=3, current="x")) == ""
