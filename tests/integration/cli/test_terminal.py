"""The command as it is installed: on a terminal, in a pipe, against a real bucket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio
import pexpect
import pytest

from lab.seaweed import S3Server
from tests.bundles import write_bundle

FORENSICS = str(Path(sys.executable).with_name("forensics"))


@pytest.fixture
def bundle(s3: S3Server, bucket: str, use_env: Callable[[Mapping[str, str]], None]) -> str:
    use_env(s3.env())
    anyio.run(write_bundle, f"s3://{bucket}/cases/one")
    return f"s3://{bucket}/cases/one"


def terminal(command: str, *arguments: str, **variables: str) -> tuple[int, str]:
    environment = {**os.environ, "TERM": "xterm", **variables}
    child = pexpect.spawn(
        command,
        list(arguments),
        env=environment,
        encoding="utf-8",
        dimensions=(24, 100),
        timeout=30,
    )
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus, child.before


def test_a_terminal_shows_a_bar_and_the_cursor_comes_back(bundle: str) -> None:
    code, screen = terminal(FORENSICS, "verify", bundle)
    assert code == 0
    assert "━" in screen
    assert "Verified: 4 artifacts" in screen
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")


def test_no_colours_where_they_are_not_wanted(bundle: str) -> None:
    _, screen = terminal(FORENSICS, "verify", bundle, NO_COLOR="1")
    assert "━" in screen
    assert "\x1b[3" not in screen
    assert "\x1b[9" not in screen


def test_json_on_a_terminal_has_no_bar(bundle: str) -> None:
    code, screen = terminal(FORENSICS, "verify", bundle, "-o", "json")
    assert code == 0
    assert json.loads(screen)["verified"] is True


def test_a_pipe_gets_no_control_characters(bundle: str, tmp_path: Path) -> None:
    command = [FORENSICS, "fetch", bundle, str(tmp_path / "copy")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr.startswith("Fetching: 5/5 objects")


def test_ctrl_c_in_a_download_leaves_no_manifest(bundle: str, tmp_path: Path) -> None:
    code_path = tmp_path / "copy"
    program = (
        "import os, signal\n"
        "from forensics_core.bundle import fetch\n"
        "from forensics_core.cli.main import main\n"
        "passed = fetch.check_object\n"
        "async def check_object(*given):\n"
        "    problem = await passed(*given)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return problem\n"
        "fetch.check_object = check_object\n"
        "main()\n"
    )
    command = [sys.executable, "-c", program, "fetch", bundle, str(code_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr == "Error: Interrupted.\n"
    assert not (code_path / "manifest.json").exists()
    assert not list(code_path.rglob("*.unfinished"))


def test_wrong_credentials_are_one_line(bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    done = subprocess.run([FORENSICS, "ls", bundle], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "credentials" in done.stderr
    assert len(done.stderr.splitlines()) == 1
