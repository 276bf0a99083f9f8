"""Connections that the kernel keeps track of, ended ones too, with what they were translated to.

By netlink, which needs the capability `NET_ADMIN`; or from /proc/net/nf_conntrack, which needs none
but is not built into every kernel, and lacks times.

Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h, net/netfilter/nf_conntrack_standalone.c
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from collector.documents import portable
from collector.node.netlink_fields import (
    NetlinkRow,
    NetlinkSchema,
    address,
    digits,
    fields,
    flags,
    nested,
    network_number,
    text,
    word,
)

NETLINK_NETFILTER = 12
GET = 0x101
"""The message that asks for all connections."""
HEAD = 4
"""Bytes of `struct nfgenmsg`: family, version and an id."""
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 47: "gre", 58: "icmpv6", 132: "sctp"}
_TCP = (
    *("NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK"),
    *("TIME_WAIT", "CLOSE", "SYN_SENT2"),
)
_STATUS = (
    *("expected", "seenReply", "assured", "confirmed", "srcNat", "dstNat", "seqAdjust"),
    *("srcNatDone", "dstNatDone", "dying", "fixedTimeout", "template", "untracked", "helper"),
    *("offload", "hardwareOffload"),
)
# 1 and 2 are IPv4's, 3 and 4 IPv6's: a tuple has those of one family.
_IP: NetlinkSchema = {
    1: ("source", address),
    2: ("destination", address),
    3: ("source", address),
    4: ("destination", address),
}
_PROTO: NetlinkSchema = {
    1: ("protocol", word(PROTOCOLS)),
    2: ("sourcePort", network_number),
    3: ("destinationPort", network_number),
    4: ("icmpId", network_number),
    5: ("icmpType", network_number),
    6: ("icmpCode", network_number),
    7: ("icmpId", network_number),
    8: ("icmpType", network_number),
    9: ("icmpCode", network_number),
}
_TUPLE: NetlinkSchema = {
    1: ("ip", nested(_IP)),
    2: ("proto", nested(_PROTO)),
    3: ("zone", network_number),
}
# 3 and 4 are the 32-bit counters of old kernels.
_COUNTERS: NetlinkSchema = {
    1: ("packets", network_number),
    2: ("bytes", network_number),
    3: ("packets", network_number),
    4: ("bytes", network_number),
    5: ("padding", digits),
}
_TIMES: NetlinkSchema = {
    1: ("start", network_number),
    2: ("stop", network_number),
    3: ("padding", digits),
}
_STATE: NetlinkSchema = {
    1: ("tcp", nested({1: ("state", word(_TCP)), 4: ("flags", digits), 5: ("flags", digits)})),
}
_ENTRY: NetlinkSchema = {
    1: ("original", nested(_TUPLE)),
    2: ("reply", nested(_TUPLE)),
    3: ("status", flags(_STATUS)),
    4: ("info", nested(_STATE)),
    5: ("helper", nested({1: ("name", text)})),
    7: ("timeout", network_number),
    8: ("mark", network_number),
    9: ("originalCounters", nested(_COUNTERS)),
    10: ("replyCounters", nested(_COUNTERS)),
    11: ("use", network_number),
    12: ("id", network_number),
    14: ("master", nested(_TUPLE)),
    18: ("zone", network_number),
    19: ("context", nested({1: ("name", text)})),
    20: ("times", nested(_TIMES)),
    22: ("labels", digits),
}


def decode(body: bytes) -> NetlinkRow:
    """Return one connection: `times` are nanoseconds since 1970, where the kernel keeps them."""
    row = fields(body[HEAD:], _ENTRY)
    for name in ("original", "reply", "master"):
        if isinstance(found := row.get(name), dict):
            row[name] = _flat(found)
    return row


def _flat(found: NetlinkRow) -> NetlinkRow:
    parts = (found.pop(name, {}) for name in ("ip", "proto"))
    return {**{k: v for part in parts if isinstance(part, dict) for k, v in part.items()}, **found}


_PAIR = re.compile(rb"(\w+)=(\S+)")
_WORDS = {
    b"src": "source",
    b"dst": "destination",
    b"sport": "sourcePort",
    b"dport": "destinationPort",
    b"type": "icmpType",
    b"code": "icmpCode",
    b"id": "icmpId",
}
_COUNTED = (b"packets", b"bytes")


def parse(line: bytes) -> NetlinkRow | None:
    """Return one line of /proc/net/nf_conntrack in the same form; None for what is no such line."""
    words = line.split()
    if len(words) < 6 or not (words[3].isdigit() and words[4].isdigit()):
        return None
    # `ipv4 2 tcp 6 117 ESTABLISHED src=...`: name and number of both protocols, then the timeout.
    protocol = PROTOCOLS.get(int(words[3]), portable(words[2]))
    row: NetlinkRow = {"original": {"protocol": protocol}, "timeout": int(words[4])}
    # The state is the one field in front of the addresses, and without a name.
    if b"=" not in words[5] and words[2] == b"tcp":
        row["info"] = {"tcp": {"state": portable(words[5])}}
    marks = re.findall(rb"\[(\w+)\]", line)
    row["status"] = [mark.decode().lower() for mark in marks]
    for name, value in _PAIR.findall(line):
        _place(row, name, value, protocol)
    return row


def _place(row: NetlinkRow, name: bytes, value: bytes, protocol: Any) -> None:
    """Put `src=1.2.3.4` where it belongs: what comes a second time is of the reply."""
    if name not in _WORDS and name not in _COUNTED:
        row[name.decode()] = _value(value)
        return
    if name == b"src" and "source" in row["original"]:
        row["reply"] = {"protocol": protocol}
    side = "reply" if "reply" in row else "original"
    if name in _COUNTED:
        row.setdefault(f"{side}Counters", {})[name.decode()] = _value(value)
    else:
        row[side][_WORDS[name]] = _end(value) if name in (b"src", b"dst") else _value(value)


def _end(value: bytes) -> Any:
    """Return an address as the other tables spell it: here IPv6 is written out in full."""
    try:
        return str(ipaddress.ip_address(value.decode()))
    except ValueError:
        return portable(value)


def _value(value: bytes) -> Any:
    return int(value) if value.isdigit() and len(value) < 20 else portable(value)


def is_of(row: NetlinkRow, addresses: frozenset[str]) -> bool:
    """Whether a connection is from or to one of these addresses, before or after translation."""
    sides = (row.get("original"), row.get("reply"))
    return any(
        side.get(end) in addresses
        for side in sides
        if isinstance(side, dict)
        for end in ("source", "destination")
    )
