"""What other programs are told when they are started, and that nothing starts them otherwise."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from forensics_core._internal import children

ROOT = Path(__file__).parents[3]
STARTING = {
    *("anyio.open_process", "anyio.run_process", "os.system", "os.popen", "os.fork"),
    *("subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_call"),
    *("subprocess.check_output", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell", "pty.spawn"),
}
MODULES = {name.partition(".")[0] for name in STARTING} | {"os"}
HOSTILE = {
    "TAR_OPTIONS": "--exclude-vcs",
    "TAPE": "/tmp/x",
    "POSIXLY_CORRECT": "1",
    "LD_PRELOAD": "/nowhere/evil.so",
    "LD_LIBRARY_PATH": "/nowhere",
    "GZIP": "-1",
    "TZ": "Asia/Tokyo",
    "TMPDIR": "/nowhere",
    "BASH_ENV": "/nowhere/evil.sh",
    "LC_ALL": "de_DE.UTF-8",
}


def starts(source: str) -> Iterator[str]:
    """Yield what in a module's source starts a program, or imports what does."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if name in STARTING or name.startswith(("os.exec", "os.spawn", "os.posix_spawn")):
                yield name
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name for name in names if name in STARTING)


def test_every_child_is_started_in_one_place() -> None:
    found = {
        str(path.relative_to(ROOT)): list(starts(path.read_text()))
        for package in ("collector", "forensics_core", "slackbot")
        for path in (ROOT / package).rglob("*.py")
    }
    assert {name for name, what in found.items() if what} == {
        "forensics_core/_internal/children.py"
    }


@pytest.mark.parametrize(
    "source",
    [
        "import subprocess\nsubprocess.run(['tar'])",
        "from subprocess import Popen",
        "import os\nos.execvp('tar', ['tar'])",
        "from anyio import run_process as go",
    ],
)
def test_other_ways_to_start_a_child_are_found(source: str) -> None:
    assert list(starts(source))


async def test_a_child_gets_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    ran = await children.run(["env"])
    async with await children.start(["env"]) as process:
        assert process.stdout
        started = b"".join([block async for block in process.stdout])
    expected = {f"PATH={':'.join(children.FOLDERS)}".encode(), b"LC_ALL=C"}
    assert {*ran.stdout.splitlines()} == {*started.splitlines()} == expected


def test_a_child_gets_what_is_listed_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///x")
    kept = children.environment(("DOCKER_HOST", "NOT_SET"), {"A": "1"})
    assert kept.keys() == {"PATH", "LC_ALL", "DOCKER_HOST", "A"}
    assert (kept["DOCKER_HOST"], kept["A"]) == ("unix:///x", "1")


def test_the_machines_own_program_comes_before_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sh", "only-here"):
        (tmp_path / name).symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f".::{tmp_path}")
    assert Path(children.program("sh")).parent != tmp_path
    assert children.program("only-here") == str(tmp_path / "only-here")
    assert children.program("./sh") == "./sh"


async def test_a_program_in_the_folder_at_hand_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only-here").symlink_to("/bin/true")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", ":.:bin")
    with pytest.raises(FileNotFoundError, match="only-here is not installed"):
        await children.run(["only-here"])


async def test_a_child_that_is_not_ended_by_its_callers_ctrl_c() -> None:
    async with await children.start(["sh", "-c", "ps -o sid= -p $$; echo $$"]) as process:
        assert process.stdout
        said = b"".join([block async for block in process.stdout]).split()
        await process.wait()
    assert said[0] == said[1]
