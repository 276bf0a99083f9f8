"""Routes, rules, neighbours and traffic control of a network namespace."""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

import pytest

from collector.node import routing
from collector.node.netlink import Netlink
from tests.unit.collector.node.namespaces import new_network, within
from tests.unit.collector.node.test_netlink_fields import attribute

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="of other namespaces")
SCRIPT = """
ip link add name eth7 type bridge
ip link set eth7 up promisc on
ip address add 192.0.2.7/24 dev eth7
ip route add 198.51.100.0/24 via 192.0.2.1
ip rule add fwmark 7 table 99
ip neighbour add 192.0.2.9 lladdr 02:00:00:00:00:09 dev eth7
tc qdisc add dev eth7 clsact
tc qdisc add dev eth7 root handle 1: htb
tc filter add dev eth7 parent 1: protocol ip prio 1 u32 match ip dport 80 0xffff classid 1:1
tc filter add dev eth7 ingress protocol ip prio 1 u32 match ip dport 81 0xffff classid 1:1
"""


def tables() -> dict[str, list[dict[str, Any]]]:
    found = {}
    for name in routing.TABLES:
        with Netlink(socket.NETLINK_ROUTE) as kernel:
            found[name] = list(routing.rows(kernel, name))
    return found


def test_what_a_namespace_has() -> None:
    with new_network(SCRIPT) as pid:
        found = within(pid, tables)
    (link,) = (row for row in found["links"] if row["name"] == "eth7")
    assert link["promiscuity"] == 1
    assert ("192.0.2.7", 24) in {
        (row["local"], row["prefix"]) for row in found["addresses"] if "local" in row
    }
    (route,) = (row for row in found["routes"] if row.get("gateway") == "192.0.2.1")
    assert (route["destination"], route["prefix"], route["family"]) == ("198.51.100.0", 24, "ipv4")
    assert (7, 99) in {(row.get("mark"), row["tableNumber"]) for row in found["rules"]}
    (neighbour,) = (row for row in found["neighbours"] if row["address"] == "192.0.2.9")
    assert neighbour["hardware"] == "02:00:00:00:00:09" and neighbour["state"] == ["permanent"]
    assert {"htb", "clsact"} <= {row["kind"] for row in found["qdiscs"]}
    places = {row["parent"] for row in found["filters"] if row["index"] == link["index"]}
    assert places == {0x10000, 0xFFFFFFF2}


def test_a_filter_that_is_a_program_has_its_id_and_tag() -> None:
    options = attribute(7, b"evil\0") + attribute(10, b"\1\2") + attribute(11, struct.pack("=I", 9))
    body = bytes(20) + attribute(1, b"bpf\0") + attribute(2, options)
    row = routing.decode("filters", body)
    assert row["options"] == {"name": "evil", "tag": "0102", "program": 9}


def test_rows_that_are_cut_short_are_left_out() -> None:
    class Short:
        def dump(self, kind: int, body: bytes) -> list[bytes]:
            return [b"", bytes(19)] if kind != 38 else [struct.pack("=B3xiIII", 0, 1, 1, 0, 0)]

    kernel: Any = Short()
    assert list(routing.rows(kernel, "neighbours")) == [routing.decode("neighbours", bytes(19))]
    assert list(routing.rows(kernel, "filters")) == []
