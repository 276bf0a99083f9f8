"""What the kernel says of listening sockets, and what is made of it where it says nothing."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.node.listening import listening
from collector.node.netlink import messages
from collector.node.procfs import Process


@pytest.fixture
def kernel() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A socket to read, and one that stands for the kernel."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        yield ours, theirs


def message(kind: int, body: bytes) -> bytes:
    padding = b"\0" * (-len(body) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body + padding


def test_an_answer_of_several_parts(kernel: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = kernel
    theirs.send(message(20, b"one") + message(20, b"three"))
    theirs.send(message(20, b"") + message(3, b""))
    assert [each.body for each in messages(ours)] == [b"one", b"three", b""]


def test_a_kernel_that_does_not_tell(kernel: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = kernel
    theirs.send(message(2, struct.pack("=i", -95)))
    with pytest.raises(OSError, match="does not tell") as caught:
        [each.body for each in messages(ours)]
    assert caught.value.errno == 95


def test_our_own_sockets(tmp_path: Path) -> None:
    """Connections, pairs, other kinds of sockets and files are none that listen."""
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as deaf:
        one.bind(str(tmp_path / "one"))
        one.listen()
        deaf.bind(str(tmp_path / "deaf"))
        with Process.open(os.getpid()) as process:
            found = listening(process)
    assert bytes(tmp_path / "one") in found and bytes(tmp_path / "deaf") not in found


def test_a_network_that_cannot_be_entered_says_nothing(tmp_path: Path) -> None:
    for name in ("fd", "ns"):
        (tmp_path / name).mkdir()
    (tmp_path / "fd/3").symlink_to("socket:[1]")
    (tmp_path / "fd/4").symlink_to("/a/file")
    (tmp_path / "ns/net").symlink_to("/dev/null")
    folder = os.open(tmp_path, os.O_RDONLY)
    assert listening(Process(7, folder)) == []
    (tmp_path / "ns/net").unlink()
    assert listening(Process(7, folder)) == []
    os.close(folder)


def test_a_process_that_has_ended_listens_nowhere(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    assert listening(Process(7, folder)) == []
    os.close(folder)
