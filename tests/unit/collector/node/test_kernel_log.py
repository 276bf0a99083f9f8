"""The kernel's ring buffer, by either way."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.node.kernel_log import DEVICE, kernel_log, moment_of, parse_line, parse_record


def permitted() -> bool:
    try:
        kernel_log()
    except OSError:
        return False
    return True


log = pytest.mark.skipif(not permitted(), reason="this user may not read the kernel's log")


@log
def test_both_ways_tell_the_same() -> None:
    _, records, _ = kernel_log()
    way, lines, _ = kernel_log(Path("/nowhere"))
    assert way == "syslog"
    messages = {line["message"] for line in lines if isinstance(line["message"], str)}
    assert any(record["message"] in messages for record in records)


@log
def test_the_device_of_the_kernel() -> None:
    if not os.access(DEVICE, os.R_OK):
        pytest.skip("there is no such device")
    way, records, _ = kernel_log()
    numbers = [record["sequence"] for record in records]
    assert way == "kmsg" and numbers == sorted(numbers) and records[0]["level"]


def test_a_file_that_ends(tmp_path: Path) -> None:
    (tmp_path / "kmsg").write_bytes(b"6,1,5000000,-;usb found\n SUBSYSTEM=usb\n")
    way, (row,), lost = kernel_log(tmp_path / "kmsg")
    assert way == "kmsg" and row["sinceBoot"] == 5.0 and row["details"] == " SUBSYSTEM=usb"
    assert (row["level"], row["message"], row["sequence"]) == ("info", "usb found", 1)
    assert not lost


def test_of_a_buffer_that_is_too_long_the_newest_is_kept(tmp_path: Path) -> None:
    (tmp_path / "kmsg").touch()
    answers = iter([b"6,%d,5,-;told" % number for number in range(100)] + [b""])
    _, rows, lost = kernel_log(tmp_path / "kmsg", limit=40, read=lambda *_: next(answers))
    assert [row["sequence"] for row in rows] == [97, 98, 99] and lost


def test_a_line_of_the_system_call() -> None:
    row = parse_line(b"<4>[   12.500000] module: loading out-of-tree module taints kernel.")
    assert row and (row["level"], row["sinceBoot"]) == ("warning", 12.5)
    plain = parse_line(b"<30>without a time")
    assert plain and (plain["time"], plain["facility"], plain["message"]) == (
        None,
        3,
        "without a time",
    )


def test_a_time_that_is_none() -> None:
    assert moment_of(10**30) is None


@given(st.binary())
def test_lines_and_records_of_any_bytes(data: bytes) -> None:
    for row in (parse_line(b"<1>" + data), parse_record(b"1,2,3,-;" + data), parse_record(data)):
        assert row is None or json.loads(json.dumps(row)) == row


def test_records_that_are_none_or_were_overwritten(tmp_path: Path) -> None:
    (tmp_path / "kmsg").touch()
    answers: Iterator[bytes | OSError]
    answers = iter([BrokenPipeError(), b"nonsense", b"6,9,5,-;told", BlockingIOError()])

    def read(_: int, __: int) -> bytes:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    _, rows, lost = kernel_log(tmp_path / "kmsg", read=read)
    assert [row["sequence"] for row in rows] == [9] and lost


def test_records_between_two_that_were_read_are_missed(tmp_path: Path) -> None:
    (tmp_path / "kmsg").touch()
    answers = iter([b"6,1,5,-;told", b"6,9,5,-;told", b""])
    _, rows, lost = kernel_log(tmp_path / "kmsg", read=lambda *_: next(answers))
    assert len(rows) == 2 and lost
