"""A pod's log files, read from a node that may be hostile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from anyio import to_thread

from collector.cri import logfiles
from collector.node.host import Host
from collector.runtimes.runtime import Unavailable

HOST = Host()


async def text(path: Path, name: str) -> bytes:
    async with logfiles.read(HOST, str(path), name) as blocks:
        return b"".join([block async for block in blocks])


async def test_current_previous_and_rotated(tmp_path: Path) -> None:
    names = ("0.log", "1.log.20260101-000000.gz", "1.log.20260102-000000", "1.log")
    for name in names:
        (tmp_path / name).write_text(name)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "2.log").symlink_to("/etc/passwd")
    (tmp_path / "3.log").mkdir()
    assert await to_thread.run_sync(logfiles.names, HOST, str(tmp_path / "1.log")) == names
    assert await text(tmp_path / "1.log", "0.log") == b"0.log"


async def test_links_and_fifos_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "0.log").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "1.log")
    for name in ("0.log", "1.log", "2.log"):
        with pytest.raises(Unavailable) as caught:
            await text(tmp_path / "0.log", name)
        assert caught.value.reason == "Gone"


async def test_what_is_written_meanwhile_is_left_out(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    log.write_text("before")
    async with logfiles.read(HOST, str(log), "0.log") as blocks:
        first = await anext(blocks)
        with log.open("a") as file:
            file.write("after")
        assert first == b"before" and [block async for block in blocks] == []


def test_a_folder_that_cannot_be_listed() -> None:
    assert logfiles.names(HOST, "/no/such/folder/0.log") == ("0.log",)
    assert logfiles.names(HOST, "") == ()


def test_the_newest_is_last(tmp_path: Path) -> None:
    order = ("9.log.20260101", "9.log.20260102", "9.log", "10.log.20260103.gz", "10.log")
    for name in order:
        (tmp_path / name).touch()
    assert logfiles.names(HOST, str(tmp_path / "10.log")) == order
    (tmp_path / "odd").touch()
    assert logfiles.names(HOST, str(tmp_path / "odd")) == ("odd", *order)
