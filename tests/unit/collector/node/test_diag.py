"""Sockets by sock_diag, of every family, with who holds them."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import ExitStack
from typing import Any

import pytest

from collector.node import diag
from collector.node.diag import FAMILIES
from collector.node.holders import find_holders
from collector.node.listening import NETLINK_SOCK_DIAG
from collector.node.netlink import Netlink
from tests.unit.collector.node.namespaces import new_network, within
from tests.unit.collector.node.test_netlink_fields import attribute

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="of other namespaces")


def inode(each: socket.socket) -> int:
    return os.fstat(each.fileno()).st_ino


def told(name: str) -> dict[int, dict[str, Any]]:
    holders = find_holders([os.getpid()]).sockets
    with Netlink(NETLINK_SOCK_DIAG) as kernel:
        return {row["inode"]: row for row in diag.rows(kernel, name, holders)}


def test_sockets_of_every_family_have_their_process() -> None:
    def work() -> dict[str, dict[str, Any]]:
        with ExitStack() as stack:
            made = {
                "tcp": socket.socket(socket.AF_INET),
                "tcp6": socket.socket(socket.AF_INET6),
                "udp": socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
                "packet": socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)),
                "netlink": socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
                "unix": socket.socket(socket.AF_UNIX),
            }
            for each in made.values():
                stack.enter_context(each)
            made["packet"].bind(("lo", 3))
            made["tcp"].bind(("127.0.0.1", 4444))
            made["tcp6"].bind(("::1", 4445))
            made["udp"].bind(("127.0.0.1", 4446))
            made["unix"].bind("\0hidden")
            made["netlink"].bind((0, 1))
            for name in ("tcp", "tcp6", "unix"):
                made[name].listen()
            return {name: told(name)[inode(each)] for name, each in made.items()}

    with new_network() as pid:
        found = within(pid, work)
    assert all(os.getpid() in row["pids"] for row in found.values())
    assert found["tcp"]["local"] == {"address": "127.0.0.1", "port": 4444}
    assert (found["tcp6"]["local"]["address"], found["tcp6"]["state"]) == ("::1", "LISTEN")
    assert found["udp"]["protocol"] == "udp" and found["tcp6"]["protocol"] == "tcp6"
    packet = found["packet"]
    assert (packet["type"], packet["ethertype"], packet["flags"]) == ("RAW", 3, ["running"])
    assert (found["unix"]["path"], found["unix"]["listening"]) == ("@hidden", True)
    assert (found["netlink"]["family"], found["netlink"]["type"]) == ("route", "RAW")


def test_a_unix_socket_with_a_path_and_one_without() -> None:
    row = struct.pack("=BBBBIII", socket.AF_UNIX, 1, 10, 0, 9, 0, 0)
    named = FAMILIES["unix"].decode(row + attribute(0, b"/run/app.sock\0"))
    assert (named["path"], named["inode"]) == ("/run/app.sock", 9)
    assert "path" not in FAMILIES["unix"].decode(row)


def test_a_vsock_socket() -> None:
    row = struct.pack("=BBBBIIIIIII", 40, 1, 10, 0, 3, 777, 2, 0, 9, 0, 0)
    found = FAMILIES["vsock"].decode(row)
    assert found["local"] == {"address": "3", "port": 777} and found["inode"] == 9


def test_rows_that_are_cut_short_are_left_out() -> None:
    class Short:
        def dump(self, kind: int, body: bytes) -> list[bytes]:
            return [b"", bytes(71)]

    kernel: Any = Short()
    assert list(diag.rows(kernel, "tcp", {})) == []
    assert FAMILIES["packet"].decode(bytes(16) + attribute(0, b"short"))["inode"] == 0
    assert FAMILIES["tcp"].decode(bytes(72))["state"] == "0"
