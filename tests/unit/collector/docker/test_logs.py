"""Log frames are unwrapped, however the connection cuts them."""

from __future__ import annotations

import gzip
import json
import os
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.docker.logs import TooMuch, difference, nanoseconds, payloads, stamp, tally
from collector.docker.storage import log_names
from collector.files.logfiles import LogFile, LogFiles
from collector.node.host import Host
from collector.runtimes.runtime import ContainerInfo
from forensics_core.errors import SourceError


def frame(payload: bytes) -> bytes:
    return struct.pack(">B3xI", 1, len(payload)) + payload


async def cut(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@given(st.lists(st.binary(max_size=40)), st.integers(1, 60))
async def test_payloads_are_joined(frames: list[bytes], size: int) -> None:
    stream = b"".join(map(frame, frames))
    got = [piece async for piece in payloads(cut(stream, size))]
    assert b"".join(got) == b"".join(frames)


@pytest.mark.parametrize("missing", [1, 5, 10])
async def test_a_frame_that_breaks_off_is_an_error(missing: int) -> None:
    stream = frame(b"hello")[:-missing]
    with pytest.raises(SourceError, match="middle of a frame"):
        [piece async for piece in payloads(cut(stream, 4))]


KEY = "4f2a"


def entry(text: str, when: str = "2026-01-01T00:00:00.5Z") -> bytes:
    return json.dumps({"log": text, "stream": "stdout", "time": when}).encode() + b"\n"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Callable[..., LogFile]]:
    """Makes an open log of some content."""
    held = list[int]()

    def make(data: bytes, name: str = "json-file.log") -> LogFile:
        path = tmp_path / name
        path.write_bytes(data)
        held.append(os.open(path, os.O_RDONLY))
        kind = "application/gzip" if name.endswith(".gz") else "application/x-ndjson"
        return LogFile(name, kind, held[-1], len(data))

    yield make
    for descriptor in held:
        os.close(descriptor)


def container(folder: Path, **said: object) -> ContainerInfo:
    document = json.dumps({"HostnamePath": f"{folder}/hostname", **said}).encode()
    return ContainerInfo(f"docker://{KEY}", "web", "", "", "running", None, (), document)


def test_output_is_counted_in_bytes_over_all_files(log: Callable[..., LogFile]) -> None:
    old = log(gzip.compress(entry("é\n", "2026-01-01T00:00:01Z")), "json-file.log.1.gz")
    new = log(entry("a\0b\n", "2026-01-01T00:00:00.25Z") + entry("no newline"))
    found = tally([old, new])
    assert (found.size, found.damaged) == (3 + 4 + 10, 0)
    assert found.until == "1767225601.000000000"


def test_nuls_cost_nothing_garbage_is_counted_and_an_unfinished_line_is_not(
    log: Callable[..., LogFile],
) -> None:
    data = b"\0" * 5000 + entry("a\n") + b"garbage\n[]\n{}\n" + entry("b\n") + b'{"log": "cut'
    found = tally([log(data)])
    assert (found.size, found.damaged) == (4, 3)


def test_files_that_are_too_large_are_given_up(log: Callable[..., LogFile]) -> None:
    bomb = log(gzip.compress(b"\0" * 1_000_000), "json-file.log.1.gz")
    for files in ([bomb], [log(entry("a") * 10)]):
        with pytest.raises(TooMuch):
            tally(files, limit=100)


def test_a_file_that_is_not_what_it_says(log: Callable[..., LogFile]) -> None:
    with pytest.raises(zlib.error):
        tally([log(b"no gzip", "json-file.log.1.gz")])


def test_times_of_any_zone_and_precision() -> None:
    assert nanoseconds("2026-01-01T01:00:00.5+01:00") == 1767225600_500000000
    assert stamp(nanoseconds("2026-01-01T00:00:00.123456789Z")) == "1767225600.123456789"
    for text in ("", "yesterday", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z"):
        with pytest.raises(ValueError, match=r"time|month"):
            nanoseconds(text)


def answers(size: int) -> Callable[[str], Awaitable[int]]:
    async def shown(_: str) -> int:
        return size

    return shown


async def test_a_difference_is_told_with_its_numbers(log: Callable[..., LogFile]) -> None:
    file = log(entry("abc\n"))
    assert await difference(LogFiles((file,), (), 1), answers(4)) == ""
    told = await difference(LogFiles((file,), (), 1), answers(2))
    assert "hold 4 bytes" in told and "has 2 bytes" in told


async def test_what_cannot_be_compared_is_not_said_to_differ(log: Callable[..., LogFile]) -> None:
    file, bad = log(entry("abc\n")), log(b"no gzip", "json-file.log.1.gz")
    for logs in (
        LogFiles(),
        LogFiles((file,), (), 2),
        LogFiles((bad, file), (), 2),
        LogFiles((log(b"", "local.log"),), (), 1),
        LogFiles((log(b""),), (), 1),
    ):
        assert await difference(logs, answers(2)) == ""


def test_current_and_rotated_logs_of_every_driver(tmp_path: Path) -> None:
    folder = tmp_path / KEY
    (folder / "local-logs").mkdir(parents=True)
    for name in ("-json.log", "-json.log.1", "-json.log.10.gz", "-json.log.2.gz", "-json.log.tmp"):
        (folder / (KEY + name)).touch()
    for name in ("local-logs/container.log", "container-cached.log", "hostname"):
        (folder / name).touch()
    found = log_names(Host(), container(folder))
    assert [log.name for log in found] == [
        "json-file.log.10.gz",
        "json-file.log.2.gz",
        "json-file.log.1",
        "json-file.log",
        "local.log",
        "cached.log",
    ]
    assert [log.media_type for log in found[-4:]] == [
        "application/x-ndjson",
        "application/x-ndjson",
        "application/octet-stream",
        "application/octet-stream",
    ]


def test_a_current_log_is_expected_even_if_it_is_gone(tmp_path: Path) -> None:
    (tmp_path / KEY).mkdir()
    path = f"{tmp_path / KEY}/{KEY}-json.log"
    (log,) = log_names(Host(), container(tmp_path / KEY, LogPath=path))
    assert (log.path, log.name) == (path, "json-file.log")


def test_folders_that_are_not_the_containers_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / f"{KEY}-json.log").touch()
    assert log_names(Host(), container(tmp_path / "other")) == []
