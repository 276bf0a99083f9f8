"""Attributes of any length and form are spelled, and none is left out."""

from __future__ import annotations

import json
import struct

from hypothesis import given
from hypothesis import strategies as st

from collector.node import conntrack, diag, netlink_fields, nftables, routing
from collector.node.netlink_fields import (
    NetlinkSchema,
    address,
    bits,
    fields,
    flag,
    flags,
    nested,
    network_number,
    number,
    several,
    signed,
    text,
    word,
)


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def test_each_kind_of_value() -> None:
    schema: NetlinkSchema = {
        1: ("name", text),
        2: ("count", network_number),
        3: ("inner", nested({1: ("own", number)})),
        4: ("list", several(text)),
        5: ("verdict", word({-3: "jump"}, signed)),
        6: ("flags", flags(("first", "second"))),
        7: ("there", flag),
        8: ("padding", text),
    }
    data = b"".join(
        (
            attribute(1, b"eth0\0"),
            attribute(2, b"\1\0"),
            attribute(3, attribute(1, struct.pack("=H", 7))),
            attribute(4, attribute(1, b"a") + attribute(1, b"b")),
            attribute(5, struct.pack("!i", -3)),
            attribute(6, b"\6"),
            attribute(7, b""),
            attribute(8, b"nothing"),
            attribute(99, b"\xff\0"),
        )
    )
    assert fields(data, schema) == {
        "name": "eth0",
        "count": 256,
        "inner": {"own": 7},
        "list": ["a", "b"],
        "verdict": "jump",
        "flags": ["second", "bit 2"],
        "there": True,
        "attribute 99": "ff00",
    }


def test_an_attribute_that_comes_again_makes_a_list() -> None:
    data = attribute(1, b"a") + attribute(1, b"b") + attribute(1, b"c")
    assert fields(data, {1: ("name", text)}) == {"name": ["a", "b", "c"]}


def test_values_that_are_not_what_they_should_be_are_digits() -> None:
    long = bytes(9)
    assert number(long) == network_number(long) == signed(long) == "00" * 9
    assert word(("zero",))(long) == flags(("first",))(long) == "00" * 9
    assert word(("zero",))(b"\7") == 7 and address(b"\1\2\3") == "01:02:03"
    assert address(b"\x7f\0\0\1") == "127.0.0.1" and address(bytes(16)) == "::"
    assert bits(0, ()) == []
    assert netlink_fields.digits(b"\1") == "01"


@given(st.binary(max_size=400))
def test_rows_of_any_bytes_are_json(data: bytes) -> None:
    rows = [nftables.decode(name, data) for name in nftables.TABLES]
    rows += [conntrack.decode(data)]
    rows += [routing.decode(name, bytes(20) + data) for name in routing.TABLES]
    rows += [family.decode(bytes(72) + data) for family in diag.FAMILIES.values()]
    assert json.loads(json.dumps(rows)) == rows
