"""Asking the kernel for its tables, in another network namespace."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.node.netlink import Netlink, attributes, messages
from tests.unit.collector.node.namespaces import new_network, within
from tests.unit.collector.node.test_listening import message

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="of other namespaces")
_LINKS = 18


def links() -> list[bytes]:
    with Netlink(socket.NETLINK_ROUTE) as kernel:
        return list(kernel.dump(_LINKS, bytes(16)))


@root_only
def test_another_namespace_has_links_of_its_own() -> None:
    with new_network("ip link add name eth7 type bridge") as pid:
        theirs = within(pid, links)
    assert any(b"eth7\0" in body for body in theirs)
    assert not any(b"eth7\0" in body for body in links())


@root_only
def test_a_namespace_that_cannot_be_entered(tmp_path: Path) -> None:
    from collector.node.netlink import enter
    from collector.node.procfs import Process

    (tmp_path / "ns").mkdir()
    (tmp_path / "ns/net").symlink_to("/dev/null")
    folder = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError, match="cannot be entered"):
        enter(Process(7, folder))
    os.close(folder)


def test_an_unknown_table_is_an_error() -> None:
    with Netlink(socket.NETLINK_ROUTE) as kernel, pytest.raises(OSError, match="does not tell"):
        list(kernel.dump(9999, bytes(16)))


def test_the_error_at_the_end_of_an_answer_and_what_says_nothing() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        theirs.send(message(1, b"") + message(20, b"row") + message(3, struct.pack("=i", -1)))
        rows = messages(ours)
        assert next(rows).body == b"row"
        with pytest.raises(PermissionError):
            next(rows)


class Interrupted(Netlink):
    """A kernel that says that its table changed meanwhile."""

    def __init__(self) -> None:
        super().__init__(socket.NETLINK_ROUTE)
        self._kernel.close()
        self._kernel, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)


def test_a_table_that_changed_while_it_was_read_is_noted() -> None:
    with Interrupted() as kernel, kernel.theirs:
        kernel.theirs.send(struct.pack("=IHHII", 16, 20, 0x10, 1, 0) + message(3, b""))
        assert list(kernel.dump(_LINKS, b"")) == [b""] and kernel.interrupted


@given(st.binary())
def test_attributes_of_any_bytes(data: bytes) -> None:
    found = list(attributes(data))
    assert sum(4 + len(value) for _, value in found) <= len(data)


def test_attributes_in_order() -> None:
    data = struct.pack("=HH1s3x", 5, 0x8001, b"a") + struct.pack("=HH4s", 8, 2, b"word")
    assert list(attributes(data)) == [(1, b"a"), (2, b"word")]
