"""Ctrl-C while commands start: a code, a line, no traceback, no half a file that looks whole."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import anyio
import pytest

from tests.bundles import write_bundle
from tests.programs import Ended, environment, program

COMMANDS = {
    "verify": ["verify", "BUNDLE", "-o", "json"],
    "ls": ["ls", "BUNDLE"],
    "cat": ["cat", "BUNDLE", "web:/etc/passwd"],
    "timeline": ["timeline", "BUNDLE"],
    "report": ["report", "BUNDLE", "-o", "OUT/report.html"],
    "fetch": ["fetch", "BUNDLE", "OUT/copy"],
    "export": ["export", "BUNDLE", "--oci", "OUT/image"],
    "collect": ["collect", "docker://web", "--to", "OUT/cases"],
}
MOMENTS = ["forensics_core.cli", "click", "anyio", "forensics_core.cli.program", "last"]
"""Modules that have been loaded when the interrupt is sent."""
LAST = {"collect": "collector.local"}


async def interrupted(command: list[str], module: str) -> Ended:
    """Interrupt a program when it has loaded a module, or soon after that."""
    env = environment({"PYTHONPROFILEIMPORTTIME": "1", "DOCKER_HOST": "unix:///nowhere.sock"})
    async with await anyio.open_process(command, env=env, stdin=subprocess.DEVNULL) as process:
        assert process.stdout and process.stderr
        said, sent = b"", False
        async for block in process.stderr:
            said += block
            if not sent and re.search(rf"\| +{module}\n".encode(), said):
                process.send_signal(signal.SIGINT)
                sent = True
        out = b"".join([block async for block in process.stdout])
        await process.wait()
    assert sent, f"{module} is loaded by no part of this command"
    lines = [line for line in said.decode().splitlines() if not line.startswith("import time:")]
    return Ended(process.returncode, out.decode(), "\n".join(lines))


@pytest.mark.parametrize("module", MOMENTS)
@pytest.mark.parametrize("name", COMMANDS)
async def test_ctrl_c_while_a_command_starts(tmp_path: Path, name: str, module: str) -> None:
    await write_bundle(str(tmp_path / "bundle"), archive=b"")
    (tmp_path / "out").mkdir()
    last = LAST.get(name, "forensics_core.bundle.reader")
    words = {"BUNDLE": str(tmp_path / "bundle"), "OUT": str(tmp_path / "out")}
    command = [program("forensics"), *COMMANDS[name]]
    for word, value in words.items():
        command = [each.replace(word, value) for each in command]
    ended = await interrupted(command, last if module == "last" else module)
    assert "Traceback" not in ended.err and "Exception ignored" not in ended.err, ended.err
    if ended.code == 130:
        assert ended.err.splitlines()[-1].startswith(("Error: Interrupted.", "Error: Stopped"))
    else:
        # It had done its work, or had found that it cannot, before the signal came.
        assert ended.code in {0, 1, 3}, ended.err
    whole(tmp_path / "out", done=ended.code == 0)


def whole(folder: Path, *, done: bool) -> None:
    """See that what is called like a result is one."""
    report, index = folder / "report.html", folder / "image/index.json"
    if report.exists():
        assert report.read_text().rstrip().endswith("</html>")
    if index.exists():
        assert json.loads(index.read_bytes())["manifests"]
    if (folder / "copy/manifest.json").exists():
        assert json.loads((folder / "copy/manifest.json").read_bytes())["subject"]
    if not done:
        assert not list(folder.rglob("manifest.json")) or (folder / "copy").exists()
