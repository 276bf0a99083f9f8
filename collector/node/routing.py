"""Links, addresses, routes, rules, neighbours and traffic control of a network namespace.

Programs that are attached to a link (XDP), or to a queue of it, are named by their id, which
`node/ebpf.json` has.

Source: rtnetlink(7), include/uapi/linux/rtnetlink.h, if_link.h, fib_rules.h, pkt_sched.h, pkt_cls.h
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from collector.node.netlink import Netlink
from collector.node.netlink_fields import (
    NetlinkRow,
    NetlinkSchema,
    address,
    bits,
    digits,
    fields,
    hardware,
    nested,
    number,
    several,
    text,
    word,
)

FAMILIES = {
    socket.AF_UNIX: "unix",
    socket.AF_INET: "ipv4",
    socket.AF_BRIDGE: "bridge",
    socket.AF_INET6: "ipv6",
    socket.AF_PACKET: "packet",
    128: "ipmr",
    129: "ip6mr",
}
_XDP: NetlinkSchema = {
    1: ("fd", number),
    2: ("attached", word(("none", "driver", "generic", "hardware", "multiple"), number)),
    3: ("flags", number),
    4: ("program", number),
    5: ("driverProgram", number),
    6: ("genericProgram", number),
    7: ("hardwareProgram", number),
}
_LINK: NetlinkSchema = {
    1: ("address", hardware),
    2: ("broadcast", hardware),
    3: ("name", text),
    4: ("mtu", number),
    5: ("link", number),
    6: ("qdisc", text),
    7: ("stats", digits),
    10: ("master", number),
    13: ("queueLength", number),
    14: ("map", digits),
    16: ("operState", number),
    17: ("linkMode", number),
    18: ("info", nested({1: ("kind", text), 2: ("data", digits), 4: ("slaveKind", text)})),
    20: ("alias", text),
    23: ("stats64", digits),
    26: ("families", digits),
    27: ("group", number),
    30: ("promiscuity", number),
    31: ("transmitQueues", number),
    32: ("receiveQueues", number),
    33: ("carrier", number),
    35: ("carrierChanges", number),
    37: ("peerNamespace", number),
    39: ("protocolDown", number),
    40: ("gsoSegments", number),
    41: ("gsoSize", number),
    43: ("xdp", nested(_XDP)),
    47: ("carrierUp", number),
    48: ("carrierDown", number),
    50: ("leastMtu", number),
    51: ("mostMtu", number),
    52: ("otherNames", several(text)),
    54: ("permanentAddress", hardware),
}
_ADDRESS: NetlinkSchema = {
    1: ("address", address),
    2: ("local", address),
    3: ("label", text),
    4: ("broadcast", address),
    5: ("anycast", address),
    6: ("lifetimes", digits),
    8: ("flags", number),
    9: ("priority", number),
}
_ROUTE: NetlinkSchema = {
    1: ("destination", address),
    2: ("source", address),
    3: ("input", number),
    4: ("output", number),
    5: ("gateway", address),
    6: ("priority", number),
    7: ("preferredSource", address),
    8: ("metrics", digits),
    9: ("multipath", digits),
    12: ("cache", digits),
    15: ("tableNumber", number),
    16: ("mark", number),
    20: ("preference", number),
    21: ("encapsulation", number),
    22: ("encapsulationData", digits),
    25: ("uid", number),
    30: ("nextHop", number),
}
_RULE: NetlinkSchema = {
    1: ("destination", address),
    2: ("source", address),
    3: ("inputName", text),
    4: ("goto", number),
    6: ("priority", number),
    10: ("mark", number),
    13: ("suppressGroup", number),
    14: ("suppressPrefix", number),
    15: ("tableNumber", number),
    16: ("mask", number),
    17: ("outputName", text),
    20: ("uids", digits),
    21: ("madeBy", number),
    22: ("ipProtocol", number),
    23: ("sourcePorts", digits),
    24: ("destinationPorts", digits),
}
_NEIGHBOUR: NetlinkSchema = {
    1: ("address", address),
    2: ("hardware", hardware),
    3: ("cache", digits),
    4: ("probes", number),
    9: ("master", number),
    12: ("madeBy", number),
}
_NEIGHBOUR_STATES = (
    *("incomplete", "reachable", "stale", "delay", "probe", "failed", "noarp", "permanent"),
)
_BPF: NetlinkSchema = {
    3: ("class", number),
    4: ("length", digits),
    5: ("instructions", digits),
    7: ("name", text),
    8: ("flags", number),
    10: ("tag", digits),
    11: ("program", number),
}
_CONTROL: NetlinkSchema = {
    1: ("kind", text),
    2: ("options", digits),
    3: ("stats", digits),
    4: ("moreStats", digits),
    7: ("stats2", digits),
    11: ("chain", number),
    12: ("offloaded", number),
    13: ("ingressBlock", number),
    14: ("egressBlock", number),
}
_OF_BPF: NetlinkSchema = {**_CONTROL, 2: ("options", nested(_BPF))}


class _RoutingTable(NamedTuple):
    """A table, by the message that asks for it, and what its rows begin with."""

    kind: int
    head: struct.Struct
    names: tuple[str, ...]
    """Of the head's fields; those without a name say nothing."""
    schema: NetlinkSchema


_TABLES = {
    "links": _RoutingTable(
        18, struct.Struct("=BxHiI4x"), ("family", "type", "index", "flags"), _LINK
    ),
    "addresses": _RoutingTable(
        22, struct.Struct("=BBBBI"), ("family", "prefix", "", "scope", "index"), _ADDRESS
    ),
    "routes": _RoutingTable(
        26,
        struct.Struct("=8BI"),
        ("family", "prefix", "sourcePrefix", "tos", "table", "madeBy", "scope", "type", "flags"),
        _ROUTE,
    ),
    "rules": _RoutingTable(
        34,
        struct.Struct("=8BI"),
        ("family", "prefix", "sourcePrefix", "tos", "table", "", "", "action", "flags"),
        _RULE,
    ),
    "neighbours": _RoutingTable(
        30, struct.Struct("=B3xiHBB"), ("family", "index", "state", "flags", "type"), _NEIGHBOUR
    ),
    "qdiscs": _RoutingTable(
        38, struct.Struct("=B3xiIII"), ("", "index", "handle", "parent", "info"), _CONTROL
    ),
    "filters": _RoutingTable(
        46, struct.Struct("=B3xiIII"), ("", "index", "handle", "parent", "info"), _CONTROL
    ),
}
TABLES = tuple(_TABLES)
# TC_H_MAKE(TC_H_CLSACT, 0): the handle of `clsact` and of `ingress` queues.
_CLSACT = 0xFFFF0000
MAX_PLACES = 4096
"""Places whose filters are asked for, each by a request of its own."""
_HOOKS = (0xFFFFFFF2, 0xFFFFFFF3)
"""Where filters hang at both ends of a `clsact` queue."""


def rows(kernel: Netlink, name: str) -> Iterator[NetlinkRow]:
    """Yield the rows of one of the `TABLES`. Raises `OSError`."""
    if name == "filters":
        yield from _filters(kernel)
        return
    table = _TABLES[name]
    # A head of zeros asks for all families and all links.
    for body in kernel.dump(table.kind, bytes(table.head.size)):
        if len(body) >= table.head.size:
            yield decode(name, body)


def _filters(kernel: Netlink) -> Iterator[NetlinkRow]:
    """Yield the filters of each queue: the kernel tells those of one place at a time."""
    table, places = _TABLES["filters"], dict[tuple[int, int], None]()
    for queue in rows(kernel, "qdiscs"):
        handle, index = queue["handle"], queue["index"]
        places |= dict.fromkeys((index, parent) for parent in (handle, queue["parent"]) if parent)
        if handle == _CLSACT:
            places |= dict.fromkeys((index, hook) for hook in _HOOKS)
    for index, parent in islice(places, MAX_PLACES):
        for body in kernel.dump(table.kind, table.head.pack(0, index, 0, parent, 0)):
            if len(body) >= table.head.size:
                yield decode("filters", body)


def decode(name: str, body: bytes) -> NetlinkRow:
    """Return a row of a table; `body` is at least as long as its head."""
    table = _TABLES[name]
    head = zip(table.names, table.head.unpack_from(body), strict=True)
    row: NetlinkRow = {field: value for field, value in head if field}
    rest, schema = body[table.head.size :], table.schema
    if "family" in row:
        row["family"] = FAMILIES.get(row["family"], row["family"])
    if name == "neighbours":
        row["state"] = bits(row["state"], _NEIGHBOUR_STATES)
    if name == "filters" and fields(rest, {1: ("kind", text)}).get("kind") == "bpf":
        schema = _OF_BPF
    return row | fields(rest, schema)
