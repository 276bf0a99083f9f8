"""Connections that the kernel keeps track of."""

from __future__ import annotations

import json
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.node.conntrack import decode, is_of, parse
from collector.node.network_tables import read_connections
from collector.node.procfs import Process
from collector.node.tables import Tables
from tests.unit.collector.node.namespaces import MAKES_RULES, new_network, within
from tests.unit.collector.node.test_netlink_fields import attribute

TRACKED = """
ip link set lo up
iptables -A OUTPUT -m conntrack --ctstate NEW -j ACCEPT
"""
TCP = (
    b"ipv4     2 tcp      6 431999 ESTABLISHED src=10.0.0.5 dst=203.0.113.7 sport=4001 dport=4444 "
    b"packets=3 bytes=180 src=203.0.113.7 dst=10.0.0.5 sport=4444 dport=4001 packets=2 bytes=120 "
    b"[ASSURED] mark=0 zone=0 use=2"
)


def test_a_line_of_proc() -> None:
    assert parse(TCP) == {
        "original": {
            "protocol": "tcp",
            "source": "10.0.0.5",
            "destination": "203.0.113.7",
            "sourcePort": 4001,
            "destinationPort": 4444,
        },
        "reply": {
            "protocol": "tcp",
            "source": "203.0.113.7",
            "destination": "10.0.0.5",
            "sourcePort": 4444,
            "destinationPort": 4001,
        },
        "originalCounters": {"packets": 3, "bytes": 180},
        "replyCounters": {"packets": 2, "bytes": 120},
        "timeout": 431999,
        "info": {"tcp": {"state": "ESTABLISHED"}},
        "status": ["assured"],
        "mark": 0,
        "zone": 0,
        "use": 2,
    }


def test_a_line_of_ipv6_that_nobody_answered() -> None:
    row = parse(
        b"ipv6 10 icmpv6 58 29 src=fe80:0000:0000:0000:0000:0000:0000:0001 dst=xx type=128 code=0 "
        b"id=9 [UNREPLIED] use=x"
    )
    assert row and row["original"] == {
        "protocol": "icmpv6",
        "source": "fe80::1",
        "destination": "xx",
        "icmpType": 128,
        "icmpCode": 0,
        "icmpId": 9,
    }
    assert row["use"] == "x" and row["status"] == ["unreplied"] and "reply" not in row


@given(st.binary())
def test_lines_of_any_bytes(line: bytes) -> None:
    row = parse(line)
    assert row is None or json.loads(json.dumps(row)) == row


@given(st.binary())
def test_lines_of_any_bytes_behind_a_good_beginning(rest: bytes) -> None:
    row = parse(b"ipv4 2 tcp 6 10 SYN_SENT " + rest)
    assert row and json.loads(json.dumps(row)) == row


def test_a_message_of_the_kernel() -> None:
    ends = attribute(1, attribute(1, b"\n\0\0\5") + attribute(2, b"\xcb\0q\7"))
    ports = attribute(2, attribute(1, b"\6") + attribute(2, b"\x0f\xa1") + attribute(3, b"\x11\\"))
    body = bytes(4) + attribute(1, ends + ports) + attribute(3, struct.pack("!I", 4))
    row = decode(body)
    assert row == {
        "original": {
            "source": "10.0.0.5",
            "destination": "203.0.113.7",
            "protocol": "tcp",
            "sourcePort": 4001,
            "destinationPort": 4444,
        },
        "status": ["assured"],
    }
    assert is_of(row, frozenset({"10.0.0.5"})) and not is_of(row, frozenset({"10.0.0.6"}))


def talk() -> int:
    """Send something over UDP to ourselves; return the port."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
    ):
        one.bind(("127.0.0.1", 0))
        two.sendto(b"x", one.getsockname())
        return int(one.getsockname()[1])


@pytest.mark.skipif(not MAKES_RULES, reason="makes firewall rules")
@pytest.mark.parametrize(("symbols", "way"), [(None, "netlink"), (frozenset[str](), "proc")])
def test_a_real_connection_by_both_ways(symbols: frozenset[str] | None, way: str) -> None:
    def read(wanted: frozenset[str] = frozenset()) -> tuple[str, list[dict[str, object]]]:
        tables = Tables(100_000)
        with Process.open(pid) as process:
            told = read_connections(tables, process, symbols, wanted)
        assert not tables.missing
        return told, [json.loads(row) for row in tables.rows["entries"]]

    with new_network(TRACKED) as pid:
        port = within(pid, talk)
        told, rows = within(pid, read)
        assert told == way
        assert port in {row["original"]["destinationPort"] for row in rows}  # type: ignore[index]
        here = within(pid, lambda: read(frozenset({"127.0.0.1"})))[1]
        assert here and within(pid, lambda: read(frozenset({"203.0.113.7"})))[1] == []
