"""Sockets of other processes are looked into without taking anything away."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from collector.node.borrowed import UnreadSocket, borrowed, peek
from collector.node.procfs import Process

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to trace")

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


def test_what_waits_stays_where_it_is(pair: Pair) -> None:
    pair[0].send(b"secret")
    inode = os.fstat(pair[1].fileno()).st_ino
    place = f"fd/{pair[1].fileno()}"
    with Process.open(os.getpid()) as process, borrowed(process, place, inode) as found:
        for room, data in ((100, b"secret"), (3, b"sec"), (0, b"")):
            waiting = peek(found, room)
            assert waiting and (waiting.size, waiting.data) == (6, data)
    assert pair[1].recv(100) == b"secret"


def test_nothing_but_the_socket_that_was_meant(pair: Pair) -> None:
    number, inode = pair[0].fileno(), os.fstat(pair[0].fileno()).st_ino
    with Process.open(os.getpid()) as process:
        for place, wanted in (("fd/999999", 1), (f"fd/{number}", inode + 1), ("task/1/fd/1", 1)):
            with pytest.raises(OSError), borrowed(process, place, wanted):
                pass


def test_an_offset_for_peeking_is_not_moved(pair: Pair) -> None:
    pair[1].setsockopt(socket.SOL_SOCKET, 42, 0)
    pair[0].send(b"secret")
    assert peek(pair[1], 100) is None
    assert pair[1].recv(100, socket.MSG_PEEK) == b"secret"


def test_sockets_that_are_left_alone() -> None:
    kinds = [(socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_NETLINK, socket.SOCK_RAW)]
    for family, kind in [*kinds, (socket.AF_VSOCK, socket.SOCK_STREAM)]:
        with suppress(OSError), socket.socket(family, kind) as found:  # not every kernel has all
            assert peek(found, 100) is None


def test_a_pending_error_of_datagrams_is_left_to_its_owner() -> None:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one:
        waiting = peek(one, 100)
        assert waiting and not waiting.size
        one.send(b"x")
        other.close()  # with something unread: so the sender gets an error
        assert peek(one, 100) is None
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def test_connections_that_nobody_has_taken_are_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        waiting = peek(server, 100)
        assert waiting and not waiting.size
        with socket.create_connection(server.getsockname()):
            assert peek(server, 100) is None


def test_a_connection_that_is_encrypted_by_the_kernel_is_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as stack:
        one = stack.enter_context(socket.create_connection(server.getsockname()))
        other = stack.enter_context(server.accept()[0])
        try:
            other.setsockopt(socket.IPPROTO_TCP, 31, b"tls")
        except OSError:
            pytest.skip("this kernel does not encrypt")
        one.send(b"x")
        assert peek(other, 100) is None


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_an_empty_datagram_hides_those_behind_it(kind: int) -> None:
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    with one, other:
        assert not told(other).hides
        one.send(b"")
        one.send(b"secret")
        assert told(other).hides


def test_an_urgent_byte_hides_those_behind_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    with one, other:
        one.send(b"plain")
        one.send(b"!", socket.MSG_OOB)
        one.send(b"secret")
        waiting = told(other)
    assert waiting.data == b"plain" and waiting.hides


def told(found: socket.socket) -> UnreadSocket:
    waiting = peek(found, 100)
    assert waiting
    return waiting
