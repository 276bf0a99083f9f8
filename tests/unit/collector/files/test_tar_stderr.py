"""What tar says on its standard error means the right thing, whatever a file is called."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from collector.documents import MAX_NAMES, BoundedNames, readable
from collector.files.tar_stderr import Lines, TarStderr
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import MAX_NAME
from forensics_core.errors import SourceError

NAMES = (
    b"line\nbreak",
    b"\x1b[31mred\x1b[0m",
    b"not-utf8-\xff\xfe",
    "café".encode(),
    b'quote"d: b\\ack',
    b"tab\tbell\avertical\v",
    b": Cannot open: Permission denied",
)


def heard(*lines: bytes) -> TarStderr:
    tar_stderr = TarStderr()
    for line in lines:
        tar_stderr.add_line(line)
    return tar_stderr


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_are_read_back_as_tar_spells_them(name: bytes, tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_DIRECTORY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(b"/proc/self/fd/%d/" % folder + name)
    os.close(folder)
    command = ["tar", "--quoting-style=c", "-C", str(tmp_path), "-cf", "/dev/null", "."]
    run = subprocess.run(command, capture_output=True, check=True, env={"LC_ALL": "C"})
    tar_stderr = heard(*run.stderr.splitlines())
    assert tar_stderr.sockets.first == [readable(b"./" + name)]


@pytest.mark.parametrize(
    "said",
    [
        b"file changed as we read it",
        b"File removed before we read it",
        b"File shrank by 1 byte; padding with zeros",
        b"File shrank by 4096 bytes; padding with zeros",
        b"Cannot stat: No such file or directory",
    ],
)
def test_a_moving_file_is_flagged_and_named(said: bytes) -> None:
    tar_stderr = heard(b'tar: "./a": ' + said)
    assert tar_stderr.notes.flags == {Flag.CHANGED_WHILE_READ}
    assert [(r.path, r.message) for r in tar_stderr.notes.remarks] == [("./a", said.decode())]
    assert tar_stderr.unreadable.total == 0


@pytest.mark.parametrize(
    "said",
    [
        b"Cannot open: Permission denied",
        b"Read error at byte 0, while reading 512 bytes: Input/output error",
        b"file name is too long (max 99); not dumped",
    ],
)
def test_what_cannot_be_read_is_named(said: bytes) -> None:
    tar_stderr = heard(b'tar: "./\\377": ' + said)
    assert tar_stderr.unreadable.first == ["./\\xff"]
    assert tar_stderr.notes.flags == set()


@pytest.mark.parametrize(
    "said",
    [
        b"Warning: Cannot flistxattr: Operation not permitted",
        b"Warning: Cannot acl_get_file_at: Input/output error",
    ],
)
def test_a_member_without_its_attributes_is_named(said: bytes) -> None:
    tar_stderr = heard(b'tar: "./a": ' + said)
    assert tar_stderr.bare.first == ["./a"]
    assert not tar_stderr.unreadable.total and not tar_stderr.notes.flags


def test_where_there_can_be_no_attributes_none_are_missing() -> None:
    tar_stderr = heard(b'tar: "./a": Warning: Cannot llistxattrat: Operation not supported')
    assert not tar_stderr.bare.total and tar_stderr.notes.remarks_total


def test_sockets_are_listed_apart() -> None:
    tar_stderr = heard(b'/usr/bin/tar: "./run/app.sock": socket ignored')
    assert tar_stderr.sockets.first == ["./run/app.sock"]
    assert tar_stderr.notes.remarks == []


def test_an_unknown_complaint_is_kept_as_a_remark() -> None:
    tar_stderr = heard(b'tar: "./a": something new')
    assert tar_stderr.notes.remarks[0].message == "something new"
    assert not tar_stderr.unreadable.total and not tar_stderr.notes.flags


@pytest.mark.parametrize("code", [0, 1])
def test_warnings_are_no_failure(code: int) -> None:
    heard(b'tar: "./a": file changed as we read it').judge(code)


def test_errors_about_members_are_no_failure() -> None:
    ending = b"tar: Exiting with failure status due to previous errors"
    heard(b'tar: "./a": Cannot open: Permission denied', ending).judge(2)


@pytest.mark.parametrize(
    ("lines", "code", "why"),
    [
        ([b"tar: memory exhausted"], 2, "memory exhausted"),
        ([b'tar: "./a": Cannot open: No such device', b"tar: memory exhausted"], 2, "memory"),
        ([], 2, "ended with 2"),
        ([], -9, "ended with -9"),
    ],
)
def test_giving_up_is_a_failure_that_says_why(lines: list[bytes], code: int, why: str) -> None:
    with pytest.raises(SourceError, match=why):
        heard(*lines).judge(code)


def test_floods_are_counted_but_not_kept() -> None:
    names = BoundedNames()
    for number in range(MAX_NAMES + 3):
        names.add(str(number))
    assert len(names.first) == MAX_NAMES
    assert str(names).endswith(f"{MAX_NAMES - 1} and 3 more")
    assert len(heard(*[b"tar: odd"] * 1000).fatal) == MAX_NAMES


def test_long_names_are_cut_wherever_they_are_shown() -> None:
    name = b"x" * 25_000
    tar_stderr = heard(b'tar: "%b": socket ignored' % name, b"tar: %b" % name)
    assert [len(text) for text in tar_stderr.sockets.first + tar_stderr.fatal] == [MAX_NAME + 1] * 2


LONG = b'tar: "./' + b"x" * 1000 + b'": socket ignored'


@pytest.mark.parametrize("step", [1, 7, 512, 1_000_000])
def test_a_line_that_is_too_long_is_dropped_whole_and_counted(step: int) -> None:
    said = b"\n".join(
        [b"first", LONG, b"second", LONG, LONG, b"", b"third", b"the last has no end"]
    )
    lines, found = Lines(most=1000), list[bytes]()
    for start in range(0, len(said), step):
        found += lines.feed(said[start : start + step])
    assert found == [b"first", b"second", b"", b"third"]
    assert lines.dropped == 3


def test_an_error_about_a_very_long_name_is_no_failure() -> None:
    tar_stderr = TarStderr()
    tar_stderr.unheard = 1
    tar_stderr.judge(2)
