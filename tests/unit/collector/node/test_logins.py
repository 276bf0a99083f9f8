"""Terminals have the names that /dev has for them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.node.ancestry import login, terminal
from collector.node.procfs import Process


@pytest.mark.parametrize(
    ("device", "name"),
    [
        (0, None),
        (os.makedev(136, 0), "pts/0"),
        (os.makedev(137, 3), "pts/259"),
        (os.makedev(4, 1), "tty1"),
        (os.makedev(4, 64), "ttyS0"),
        (os.makedev(5, 1), "console"),
        (os.makedev(5, 77), "5:77"),
        (os.makedev(204, 64), "204:64"),
        (os.makedev(136, 255), "pts/255"),
        (34816 - 2**32, "pts/0"),
    ],
)
def test_the_name_of_a_terminal(device: int, name: str | None) -> None:
    assert terminal(device) == name


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/loginuid").write_text("1000")
    (tmp_path / "7/sessionid").write_text("4294967295")
    with Process.open(7, tmp_path) as opened:
        yield opened


def test_who_logged_in(process: Process) -> None:
    assert login(process, b"S 1 20 30 34816".split()) == {
        "session": 30,
        "processGroup": 20,
        "terminal": "pts/0",
        "loginUid": 1000,
        "auditSession": None,
    }


def test_a_kernel_without_audit(process: Process, tmp_path: Path) -> None:
    (tmp_path / "7/loginuid").unlink()
    assert login(process, b"S 1 20 30 0".split())["loginUid"] is None
