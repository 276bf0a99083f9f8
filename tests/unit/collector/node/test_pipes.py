"""What waits in a pipe is copied, and stays in it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from collector.node.pipes import MAX_PIPE, peek_pipe

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    inlet, outlet = os.pipe()
    yield inlet, outlet
    os.close(inlet)
    os.close(outlet)


def look(pipe: Pipe, room: int = MAX_PIPE) -> tuple[int, bytes]:
    place = os.open(f"/proc/self/fd/{pipe[0]}", os.O_PATH)
    try:
        found = peek_pipe(place, os.fstat(pipe[0]).st_ino, room)
        return found.size, found.data
    finally:
        os.close(place)


def test_all_of_a_pipe_that_is_full(pipe: Pipe) -> None:
    fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, MAX_PIPE)
    os.write(pipe[1], b"begin")
    content = os.urandom(500_000)
    os.write(pipe[1], content)
    for _ in range(2):
        assert look(pipe) == (500_005, b"begin" + content)
    assert os.read(pipe[0], 5) == b"begin"


def test_no_more_than_there_is_room_for(pipe: Pipe) -> None:
    assert look(pipe) == (0, b"")
    os.write(pipe[1], b"secret")
    assert look(pipe, 3) == (6, b"sec")
    assert look(pipe, 0) == (6, b"")


def test_another_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    place = os.open(tmp_path / "file", os.O_PATH)
    with closing(os.fdopen(place, closefd=True)):
        assert peek_pipe(place, os.fstat(place).st_ino, 10).size == 0
