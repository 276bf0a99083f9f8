"""Socket tables are decoded as the kernel writes them on a little-endian machine."""

import json
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.node.socket_tables import (
    address,
    parse_inet,
    parse_netlink,
    parse_packet,
    parse_unix,
)

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the samples are little-endian")

TCP = b"""  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid to inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1
   1: 0B00000A:D431 DEADBEEF:115C 01 00000000:00000000 02:00000A00 00000000     0        0 77 2
   2: 0B00000A:D432 DEADBEEF:115C FF 00000000:00000000 02:00000A00 00000000     0        0 0 2
"""


def test_rows_have_addresses_states_and_holders() -> None:
    listening, talking, odd = parse_inet("tcp", {"tcp": TCP}, {4242: [7, 9]})
    assert listening == {
        "protocol": "tcp",
        "local": {"address": "127.0.0.1", "port": 8080},
        "remote": {"address": "0.0.0.0", "port": 0},  # noqa: S104  # nothing is bound
        "state": "LISTEN",
        "uid": 1000,
        "inode": 4242,
        "pids": [7, 9],
    }
    assert talking["state"] == "ESTABLISHED"
    assert talking["remote"] == {"address": "239.190.173.222", "port": 4444}
    assert talking["pids"] == []
    assert odd["state"] == "255"


def test_a_table_that_the_kernel_lacks_has_no_rows() -> None:
    assert parse_inet("udplite6", {}, {}) == []


def test_a_table_that_was_cut_loses_only_its_last_row() -> None:
    for length in range(len(TCP.rsplit(b"\n", 2)[0]) + 1, len(TCP) - 4):
        assert len(parse_inet("tcp", {"tcp": TCP[:length]}, {})) == 2


def test_version_6_addresses() -> None:
    assert address("B80D01200000000067452301EFCDAB89:0050") == {
        "address": "2001:db8::123:4567:89ab:cdef",
        "port": 80,
    }


def test_unix_sockets_with_every_sort_of_name() -> None:
    table = (
        b"Num       RefCount Protocol Flags    Type St Inode Path\n"
        b"0000000000000000: 00000002 00000000 00010000 0001 01 31337 /run/app.sock\n"
        b"0000000000000000: 00000003 00000000 00000000 0005 03 5\n"
        b"0000000000000000: 00000002 00000000 00000000 0002 01 6 @/tmp/\xffodd\nname\n"
        b"0000000000000000: 00000002 00000000 00000000 0009 01 7 @x\n"
    )
    named, unnamed, odd, unknown = parse_unix(table, {31337: [1]})
    assert named == {
        "type": "STREAM",
        "listening": True,
        "state": 1,
        "inode": 31337,
        "path": "/run/app.sock",
        "pids": [1],
    }
    assert unnamed["path"] is None and unnamed["type"] == "SEQPACKET"
    assert odd["path"] == {"text": "@/tmp/\\xffodd", "base64": "QC90bXAv/29kZA=="}
    assert unknown["type"] == "9"


def test_this_machines_own_tables() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        inode = Path(f"/proc/self/fd/{server.fileno()}").stat().st_ino
        table = Path("/proc/self/net/tcp").read_bytes()
    rows = parse_inet("tcp", {"tcp": table}, {inode: [1]})
    assert [row["local"]["port"] for row in rows if row["pids"]] == [port]


@given(st.binary())
def test_packet_and_netlink_tables_of_any_bytes(table: bytes) -> None:
    for parse in (parse_packet, parse_netlink):
        rows = parse(b"\n" + table, {})
        assert json.loads(json.dumps(rows)) == rows


def test_packet_and_netlink_sockets() -> None:
    packet = b"sk RefCnt Type Proto Iface R Rmem User Inode\n0000 3 10 0003 2 0 0 33 99"
    (row,) = parse_packet(packet, {99: [4]})
    assert row["type"] == "PACKET" and row["flags"] == [] and row["pids"] == [4]
    netlink = b"sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode\n00 99 -4 00000001 0 0 0 2 0 98"
    (row,) = parse_netlink(netlink, {})
    assert (row["family"], row["port"], row["groups"]) == (99, -4, "00000001")
