"""Who has what open, to a limit."""

from __future__ import annotations

import os
import socket

from collector.node.holders import MAX_HELD, Holders, _add, find_holders


def test_a_socket_of_ours() -> None:
    with socket.socket() as one:
        found = find_holders([os.getpid()])
        assert found.sockets[os.fstat(one.fileno()).st_ino] == [os.getpid()]
    assert found.unseen == 0


def test_too_many_open_files_or_too_little_time() -> None:
    assert find_holders([os.getpid()], links=2).unseen
    found = find_holders([os.getpid()], seconds=-1)
    assert found.unseen and not found.sockets


def test_an_object_that_everybody_holds() -> None:
    holders: list[int] = []
    for pid in (1, 1, *range(MAX_HELD + 5)):
        _add(holders, pid)
    assert len(holders) == MAX_HELD and holders[:2] == [1, 0] and Holders().unseen == 0
