"""Sockets are looked up one by one, and their names cannot take much memory."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.files.sockets import MAX_NAMES_SIZE, SocketNames, socket_members


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_DIRECTORY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{descriptor}/app.sock")
    yield descriptor
    os.close(descriptor)


def test_long_names_take_no_more_memory_than_there_is() -> None:
    names = SocketNames()
    for _ in range(2000):
        names.add(b"x" * 16_000)
    kept = list(names)
    assert 0 < len(kept) < 2000 and sum(map(len, kept)) <= MAX_NAMES_SIZE
    names.add(b"./short.sock")
    assert list(names)[-1] == b"./short.sock"


def test_only_sockets_that_are_still_there_have_a_row(root: int, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    names = (b"./app.sock", b"./gone.sock", b"./file")
    assert [member.path for member in socket_members(root, names)] == [b"/app.sock"]
