"""Rules of the older iptables, which netlink does not tell."""

from __future__ import annotations

import base64
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.node import xtables
from collector.node.xtables import FAMILIES, MAX_RAW, RuleTable
from tests.unit.collector.node.namespaces import MAKES_RULES, new_network, within

RULES = """
iptables-legacy -A INPUT -s 203.0.113.7 -p tcp --dport 22 -j DROP
ip6tables-legacy -N evil
ip6tables-legacy -A INPUT -i eth0 -s fe80::1 -j evil
ip6tables-legacy -A INPUT -j LOG --log-prefix hey
"""
legacy = pytest.mark.skipif(not MAKES_RULES, reason="makes rules with iptables")


@legacy
def test_tables_of_both_families() -> None:
    names = {"ip": ["filter"], "ip6": ["filter"]}
    with new_network(RULES) as pid:
        tables = within(pid, lambda: list(xtables.tables(names)))
    old, new = ([*table.entries()] for table in tables)
    first = old[0]
    assert first["source"] == "203.0.113.7/255.255.255.255" and first["protocol"] == 6
    assert (first["target"], first["matches"][0]["name"]) == ({"verdict": "DROP"}, "tcp")
    (chain,) = (row for row in new if (row["target"] or {}).get("chain") == "evil")
    jump = new[0]
    assert jump["in"] == "eth0" and jump["target"] == {"jump": chain["offset"] + 232}
    assert new[1]["target"]["name"] == "LOG"
    head = tables[0].head
    assert head["chains"]["INPUT"] == 0 and set(head["chains"]) == {"INPUT", "FORWARD", "OUTPUT"}
    assert base64.b64decode(head["raw"]) == tables[0].blob


@legacy
def test_no_table_is_asked_for_that_is_not_there() -> None:
    def listed() -> str:
        with open("/proc/thread-self/net/ip_tables_names") as file:  # noqa: PTH123
            return file.read()

    with new_network() as pid:
        assert within(pid, lambda: list(xtables.tables({"ip": [], "ip6": []}))) == []
        assert within(pid, listed) == ""


@legacy
def test_a_table_that_the_kernel_does_not_know() -> None:
    with new_network() as pid, pytest.raises(OSError, match="does not tell"):
        within(pid, lambda: list(xtables.tables({"ip": ["nonsense"]})))


@legacy
def test_a_table_that_is_too_long() -> None:
    with new_network(RULES) as pid, pytest.raises(OSError, match="bytes"):
        within(pid, lambda: list(xtables.tables({"ip": ["filter"]}, limit=100)))


def info() -> bytes:
    return struct.pack("=32sI5I5III", b"filter", 2, *[0] * 5, *[0] * 5, 1, 0)


@given(st.binary(max_size=600), st.integers(0, 600), st.integers(0, 600))
def test_tables_of_any_bytes(data: bytes, target: int, following: int) -> None:
    for family in FAMILIES:
        blob = bytearray(data.ljust(family.size, b"\0"))
        struct.pack_into("=HH", blob, family.offsets, target, following)
        table = RuleTable(family, "filter", info(), bytes(blob))
        rows = [table.head, *table.entries()]
        assert json.loads(json.dumps(rows)) == rows


def test_an_entry_without_a_target() -> None:
    family = FAMILIES[0]
    blob = bytearray(family.size + 40)
    struct.pack_into("=HH", blob, family.offsets, family.size, family.size + 40)
    (entry,) = RuleTable(family, "filter", info(), bytes(blob)).entries()
    assert entry["target"] is None
    struct.pack_into("=H", blob, family.size, 33)
    (entry,) = RuleTable(family, "filter", info(), bytes(blob)).entries()
    assert entry["target"] == {"name": "", "info": "00"}


def test_a_long_table_is_not_kept_twice() -> None:
    assert RuleTable(FAMILIES[0], "filter", info(), bytes(MAX_RAW + 1)).head["raw"] is None
