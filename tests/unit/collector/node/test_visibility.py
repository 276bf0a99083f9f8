"""What this process may not see is told, and not taken for what is not there."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from collector.artifacts.processes import read_row
from collector.node.members import MemberSearch, restriction
from collector.node.procfs import HOST_PROC

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root mounts, and has rights to lose"
)

T = TypeVar("T")
_CALLS = {"x86_64": (116, 119, 117), "aarch64": (159, 149, 147)}
"""setgroups, setresgid, setresuid: as system calls they are of one thread only."""
NOBODY = 65534


def as_nobody(action: Callable[[], T]) -> T:
    """Run something in a thread that has given up root's rights; the others keep them."""

    def work() -> T:
        groups, group, user = _CALLS[platform.machine()]
        keep, nobody = ctypes.c_long(-1), ctypes.c_long(NOBODY)
        call = ctypes.CDLL(None).syscall
        assert call(ctypes.c_long(groups), ctypes.c_long(0), None) == 0
        assert call(ctypes.c_long(group), keep, nobody, keep) == 0
        assert call(ctypes.c_long(user), keep, nobody, keep) == 0
        return action()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


@pytest.fixture
def hidepid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "proc"
    folder.mkdir()
    subprocess.run(["mount", "-t", "proc", "-o", "hidepid=2", "proc", folder], check=True)
    monkeypatch.setenv(HOST_PROC, str(folder))
    yield folder
    monkeypatch.delenv(HOST_PROC)
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_proc_that_hides_others_is_told_to_who_may_not_see_them(hidepid: Path) -> None:
    assert restriction() == ""
    why = as_nobody(restriction)
    assert "hidepid=" in why and "SYS_PTRACE" in why


def test_a_proc_that_hides_nothing() -> None:
    assert restriction() == "" and as_nobody(restriction) == ""


def test_root_sees_all_in_spite_of_hidepid(hidepid: Path) -> None:
    search = MemberSearch(os.getpid(), "")
    search.look()
    assert os.getpid() in search.found


def test_what_of_a_process_may_not_be_read_is_named() -> None:
    with subprocess.Popen(["sleep", "1000"]) as child:
        row = as_nobody(lambda: read_row(child.pid))
        child.kill()
    assert row and row["exe"] is None and row["comm"] == "sleep"
    assert {"environ", "exe", "cwd", "root", "descriptors", "maps"} <= {*row["refused"]}
