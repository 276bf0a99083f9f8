"""Log files that are opened, and what may happen to them afterwards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio

from collector.files.logfiles import MAX_FILES, LogFile, LogFiles, LogName, open_logs, reason
from collector.node.host import Host


def opening(folder: Path, names: Sequence[str]) -> AbstractAsyncContextManager[LogFiles]:
    return open_logs(Host(), [LogName(str(folder / name), name) for name in names])


async def content(file: LogFile) -> bytes:
    return b"".join([block async for block in file.blocks()])


async def test_links_folders_and_fifos_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "log").write_text("line")
    async with opening(tmp_path, ["link", "folder", "fifo", "none", "log"]) as logs:
        assert [await content(file) for file in logs.files] == [b"line"]
    reasons = {name: reason(error) for name, error in logs.failures}
    assert reasons == {
        "link": "Unreadable",
        "folder": "Unreadable",
        "fifo": "Unreadable",
        "none": "Gone",
    }
    assert reason(PermissionError(13, "")) == "NotPermitted"


async def test_a_folder_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "0.log").write_text("secret")
    (tmp_path / "pod").symlink_to("real")
    async with opening(tmp_path / "pod", ["0.log"]) as logs:
        assert not logs.files and len(logs.failures) == 1


async def test_what_is_written_after_the_opening_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"before")
    async with opening(tmp_path, ["log"]) as logs:
        with (tmp_path / "log").open("ab") as file:
            file.write(b"after")
        assert await content(logs.files[0]) == b"before"


async def test_a_log_that_is_rotated_packed_and_removed_stays_whole(tmp_path: Path) -> None:
    whole = os.urandom(1024 * 1024)
    (tmp_path / "log").write_bytes(whole)
    async with opening(tmp_path, ["log"]) as logs:
        blocks = logs.files[0].blocks()
        read = await anext(blocks)
        (tmp_path / "log").rename(tmp_path / "log.1")
        (tmp_path / "log").write_bytes(b"new")
        (tmp_path / "log.1").unlink()
        read += b"".join([block async for block in blocks])
    assert read == whole


async def test_a_log_whose_folder_is_renamed_stays_whole(tmp_path: Path) -> None:
    (tmp_path / "pod").mkdir()
    (tmp_path / "pod" / "log").write_bytes(b"no newline at all")
    async with opening(tmp_path / "pod", ["log"]) as logs:
        (tmp_path / "pod").rename(tmp_path / "gone")
        assert await content(logs.files[0]) == b"no newline at all"


async def test_a_log_that_is_truncated_while_it_is_read_ends(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * 1024 * 1024)
    async with opening(tmp_path, ["log"]) as logs:
        blocks = logs.files[0].blocks()
        first = await anext(blocks)
        os.truncate(tmp_path / "log", 0)
        assert [block async for block in blocks] == []
    assert 0 < len(first) < logs.files[0].size


async def test_the_newest_are_opened_and_all_are_counted(tmp_path: Path) -> None:
    names = [f"{number}.log" for number in range(MAX_FILES + 3)]
    for name in names:
        (tmp_path / name).touch()
    async with opening(tmp_path, names) as logs:
        assert [file.name for file in logs.files] == names[3:]
    assert logs.total == MAX_FILES + 3


async def test_two_logs_are_never_called_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "b").write_text("new")
    names = [LogName(str(tmp_path / name), "0.log") for name in "ab"]
    async with open_logs(Host(), names) as logs:
        assert [await content(file) for file in logs.files] == [b"new"]
    assert [name for name, _ in logs.failures] == ["0.log"]


async def test_nothing_stays_open(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    async with opening(tmp_path, ["log"]) as logs:
        held = logs.files[0].descriptor
        assert await anyio.to_thread.run_sync(os.path.exists, f"/proc/self/fd/{held}")
    link = f"/proc/self/fd/{held}"
    target = await anyio.to_thread.run_sync(os.path.realpath, link)
    assert target != str(tmp_path / "log")
