"""What the rules of nftables are made of: expressions that load, compare and decide.

`nft` shows the same as text; here each expression is a row of its own, with its registers. Matches
and targets of iptables are in them as the kernel keeps them (`match`, `target`, with `info`).

Source: include/uapi/linux/netfilter/nf_tables.h, nf_tables_compat.h
"""

from __future__ import annotations

from collector.node.netlink_fields import (
    NetlinkRow,
    NetlinkSchema,
    digits,
    fields,
    flags,
    nested,
    network_number,
    several,
    signed,
    text,
    word,
)

_VERDICTS = {
    0: "drop",
    1: "accept",
    2: "stolen",
    3: "queue",
    4: "repeat",
    -1: "continue",
    -2: "break",
    -3: "jump",
    -4: "goto",
    -5: "return",
}
_VERDICT: NetlinkSchema = {
    1: ("code", word(_VERDICTS, signed)),
    2: ("chain", text),
    3: ("chainId", network_number),
}
DATA: NetlinkSchema = {1: ("value", digits), 2: ("verdict", nested(_VERDICT))}
_FROM, _INTO = ("from", network_number), ("into", network_number)
_COMPARISONS = word(("==", "!=", "<", "<=", ">", ">="))
_META = (
    *("length", "protocol", "priority", "mark", "iif", "oif", "iifname", "oifname", "iiftype"),
    *("oiftype", "skuid", "skgid", "nftrace", "rtclassid", "secmark", "nfproto", "l4proto"),
    *("bridgeIif", "bridgeOif", "pkttype", "cpu", "iifgroup", "oifgroup", "cgroup", "random"),
    *("secpath", "iifkind", "oifkind", "bridgePvid", "bridgeProtocol", "time", "day", "hour"),
    *("sdif", "sdifname", "bridgeAddress"),
)
_CT = (
    *("state", "direction", "status", "mark", "secmark", "expiration", "helper", "l3proto"),
    *("source", "destination", "protocol", "sourcePort", "destinationPort", "labels", "packets"),
    *("bytes", "averagePacket", "zone", "events", "sourceIp", "destinationIp", "sourceIp6"),
    *("destinationIp6", "id"),
)
_NAT: NetlinkSchema = {
    1: ("type", word(("snat", "dnat"))),
    2: ("family", network_number),
    3: ("addressMin", network_number),
    4: ("addressMax", network_number),
    5: ("portMin", network_number),
    6: ("portMax", network_number),
    7: ("flags", network_number),
}
_PORTS: NetlinkSchema = {
    1: ("flags", network_number),
    2: ("portMin", network_number),
    3: ("portMax", network_number),
}
_COMPATIBLE: NetlinkSchema = {
    1: ("name", text),
    2: ("revision", network_number),
    3: ("info", digits),
}
_EXPRESSIONS: dict[str, NetlinkSchema] = {
    "bitwise": {
        1: _FROM,
        2: _INTO,
        3: ("length", network_number),
        4: ("mask", nested(DATA)),
        5: ("xor", nested(DATA)),
        6: ("operation", word(("mask", "<<", ">>"))),
        7: ("data", nested(DATA)),
    },
    "byteorder": {1: _FROM, 2: _INTO, 3: ("operation", network_number)},
    "cmp": {1: _FROM, 2: ("operation", _COMPARISONS), 3: ("data", nested(DATA))},
    "connlimit": {1: ("count", network_number), 2: ("flags", network_number)},
    "counter": {1: ("bytes", network_number), 2: ("packets", network_number)},
    "ct": {1: _INTO, 2: ("key", word(_CT)), 3: ("direction", network_number), 4: _FROM},
    "dup": {1: ("address", network_number), 2: ("device", network_number)},
    "exthdr": {1: _INTO, 2: ("type", network_number), 3: ("offset", network_number)},
    "fib": {1: _INTO, 2: ("result", network_number), 3: ("flags", network_number)},
    "fwd": {1: ("device", network_number), 2: ("address", network_number)},
    "immediate": {1: _INTO, 2: ("data", nested(DATA))},
    "last": {1: ("set", network_number), 2: ("milliseconds", network_number)},
    "limit": {
        1: ("rate", network_number),
        2: ("unit", network_number),
        3: ("burst", network_number),
        4: ("type", word(("packets", "bytes"))),
        5: ("flags", network_number),
    },
    "log": {1: ("group", network_number), 2: ("prefix", text), 5: ("level", network_number)},
    "lookup": {1: ("set", text), 2: _FROM, 3: _INTO, 5: ("flags", flags(("not",)))},
    "masq": _PORTS,
    "match": _COMPATIBLE,
    "meta": {1: _INTO, 2: ("key", word(_META)), 3: _FROM},
    "nat": _NAT,
    "objref": {1: ("type", network_number), 2: ("name", text), 4: ("set", text)},
    "payload": {
        1: _INTO,
        2: ("base", word(("link", "network", "transport", "inner"))),
        3: ("offset", network_number),
        4: ("length", network_number),
        5: _FROM,
    },
    "queue": {1: ("number", network_number), 2: ("total", network_number)},
    "quota": {1: ("bytes", network_number), 4: ("consumed", network_number)},
    "range": {
        1: _FROM,
        2: ("operation", word(("==", "!="))),
        3: ("least", nested(DATA)),
        4: ("most", nested(DATA)),
    },
    "redir": {
        1: ("portMin", network_number),
        2: ("portMax", network_number),
        3: ("flags", network_number),
    },
    "reject": {1: ("type", network_number), 2: ("code", network_number)},
    "rt": {1: _INTO, 2: ("key", network_number)},
    "socket": {1: ("key", network_number), 2: _INTO, 3: ("level", network_number)},
    "target": _COMPATIBLE,
    "tproxy": {
        1: ("family", network_number),
        2: ("address", network_number),
        3: ("port", network_number),
    },
}


def expression(data: bytes) -> NetlinkRow:
    """Return an expression; of one that is not known here, the numbers of its attributes."""
    outer = fields(data, {1: ("expression", text), 2: ("data", bytes)})
    name, inner = outer.get("expression"), outer.get("data")
    schema = _EXPRESSIONS.get(name, {}) if isinstance(name, str) else {}
    return {"expression": name} | (fields(inner, schema) if isinstance(inner, bytes) else {})


expressions = several(expression)
"""Decodes a list of them."""
