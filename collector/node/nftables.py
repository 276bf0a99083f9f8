"""The rules of nftables in a network namespace; those of `iptables-nft` are such rules, too.

Every rule has its message as it came (`raw`, base64) beside the decoded expressions, so that
nothing rests on the decoding here.

Source: include/uapi/linux/netfilter/nf_tables.h, nfnetlink.h
"""

from __future__ import annotations

import base64
import socket
import struct
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from collector.node.netlink import Netlink, attributes
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
from collector.node.nft_expressions import DATA, expression, expressions

_NFTABLES = 10 << 8
_HEAD = 4
"""Bytes of `struct nfgenmsg`: family, version and an id."""
MAX_SETS = 4096
"""Sets whose elements are asked for, each by a request of its own."""
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting", "ingress")
_NAME, _TABLE, _CHAIN = ("name", text), ("table", text), ("chain", text)
_HANDLE, _USE = ("handle", network_number), ("use", network_number)
_COMMENT, _PADDING = ("userData", digits), ("padding", digits)
_COUNTERS: NetlinkSchema = {1: ("bytes", network_number), 2: ("packets", network_number)}
_SET_FLAGS = (
    *("anonymous", "constant", "interval", "map", "timeout", "dynamic", "object", "concatenated"),
    "expression",
)
_ELEMENT: NetlinkSchema = {
    1: ("key", nested(DATA)),
    2: ("data", nested(DATA)),
    3: ("flags", flags(("intervalEnd", "catchAll"))),
    4: ("timeout", network_number),
    5: ("expiration", network_number),
    6: _COMMENT,
    7: ("expression", expression),
    8: _PADDING,
    9: ("object", text),
    10: ("keyEnd", nested(DATA)),
    11: ("expressions", expressions),
}


class _NftTable(NamedTuple):
    """A table, by the message that asks for it."""

    kind: int
    schema: NetlinkSchema


_TABLES = {
    "tables": _NftTable(
        1,
        {
            1: _NAME,
            2: ("flags", flags(("dormant", "owner", "persist"))),
            3: _USE,
            4: _HANDLE,
            5: _PADDING,
            6: _COMMENT,
            7: ("owner", network_number),
        },
    ),
    "chains": _NftTable(
        4,
        {
            1: _TABLE,
            2: _HANDLE,
            3: _NAME,
            4: (
                "hook",
                nested(
                    {
                        1: ("hook", word(_HOOKS)),
                        2: ("priority", signed),
                        3: ("device", text),
                        4: ("devices", several(text)),
                    }
                ),
            ),
            5: ("policy", word(("drop", "accept"))),
            6: _USE,
            7: ("type", text),
            8: ("counters", nested(_COUNTERS)),
            9: _PADDING,
            10: ("flags", flags(("base", "hardwareOffload", "binding"))),
            12: _COMMENT,
        },
    ),
    "rules": _NftTable(
        7,
        {
            1: _TABLE,
            2: _CHAIN,
            3: _HANDLE,
            4: ("expressions", expressions),
            5: ("compatible", digits),
            6: ("after", network_number),
            7: _COMMENT,
            8: _PADDING,
        },
    ),
    "sets": _NftTable(
        10,
        {
            1: _TABLE,
            2: _NAME,
            3: ("flags", flags(_SET_FLAGS)),
            4: ("keyType", network_number),
            5: ("keyLength", network_number),
            6: ("dataType", network_number),
            7: ("dataLength", network_number),
            9: ("description", digits),
            11: ("timeout", network_number),
            13: _COMMENT,
            14: _PADDING,
            16: _HANDLE,
            17: ("expression", expression),
            18: ("expressions", expressions),
            19: ("kind", text),
            20: ("count", network_number),
        },
    ),
    "elements": _NftTable(
        13, {1: _TABLE, 2: ("set", text), 3: ("elements", several(nested(_ELEMENT)))}
    ),
    "objects": _NftTable(
        19,
        {
            1: _TABLE,
            2: _NAME,
            3: ("type", network_number),
            4: ("data", digits),
            5: _USE,
            6: _HANDLE,
            7: _PADDING,
            8: _COMMENT,
        },
    ),
    "flowtables": _NftTable(23, {1: _TABLE, 2: _NAME, 3: ("hook", digits), 4: _USE, 5: _HANDLE}),
}
TABLES = tuple(_TABLES)


def rows(kernel: Netlink, name: str) -> Iterator[NetlinkRow]:
    """Yield the rows of one of the `TABLES`. Raises `OSError`."""
    bodies = _elements(kernel) if name == "elements" else _dump(kernel, name)
    for body in bodies:
        yield decode(name, body)


def _dump(kernel: Netlink, name: str) -> Iterator[bytes]:
    return kernel.dump(_NFTABLES | _TABLES[name].kind, bytes(_HEAD))


def _elements(kernel: Netlink) -> Iterator[bytes]:
    """Yield the elements of each set, which the kernel tells of one set at a time."""
    sets: list[bytes] = []
    # All of one answer has to be read before the next request.
    for body in _dump(kernel, "sets"):
        if len(sets) < MAX_SETS:
            sets.append(body)
    kind = _NFTABLES | _TABLES["elements"].kind
    return chain.from_iterable(kernel.dump(kind, question(body)) for body in sets)


def question(set_body: bytes) -> bytes:
    """Return what asks for the elements of the set that a message is of."""
    named = dict(attributes(set_body[_HEAD:]))
    return set_body[:1] + bytes(_HEAD - 1) + _attribute(1, named) + _attribute(2, named)


def _attribute(kind: int, named: Mapping[int, bytes]) -> bytes:
    value = named.get(kind, b"")
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def decode(name: str, body: bytes) -> NetlinkRow:
    """Return a row of a table."""
    family = body[0] if body else socket.AF_UNSPEC
    row = {"family": _FAMILIES.get(family, family)}
    row |= fields(body[_HEAD:], _TABLES[name].schema)
    if name == "rules":
        row["raw"] = base64.b64encode(body).decode()
    return row
