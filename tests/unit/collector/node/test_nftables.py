"""Rules of nftables, and those of iptables on top of it."""

from __future__ import annotations

import base64
import socket
from typing import Any

import pytest

from collector.node import nftables
from collector.node.conntrack import NETLINK_NETFILTER
from collector.node.netlink import Netlink
from collector.node.nft_expressions import expression
from tests.unit.collector.node.namespaces import MAKES_RULES, new_network, within
from tests.unit.collector.node.test_netlink_fields import attribute

NFT = """
nft -f - <<END
table inet quiet {
  set enemies { type ipv4_addr; elements = { 203.0.113.7, 203.0.113.8 } }
  counter hits { }
  chain out {
    type filter hook output priority 5; policy drop;
    ip daddr @enemies tcp dport 4444 counter drop
    meta skuid 7 jump other
  }
  chain other { log prefix "evil" accept; }
}
END
iptables -t nat -A OUTPUT -p tcp -d 198.51.100.1 -j DNAT --to-destination 10.0.0.1:80
"""


def tables() -> dict[str, list[dict[str, Any]]]:
    found = {}
    for name in nftables.TABLES:
        with Netlink(NETLINK_NETFILTER) as kernel:
            found[name] = list(nftables.rows(kernel, name))
    return found


@pytest.mark.skipif(not MAKES_RULES, reason="makes rules with nft")
def test_all_of_a_ruleset() -> None:
    with new_network(NFT) as pid:
        found = within(pid, tables)
    assert {(row["family"], row["name"]) for row in found["tables"]} == {
        ("inet", "quiet"),
        ("ip", "nat"),
    }
    (chain,) = (row for row in found["chains"] if row["name"] == "out")
    assert (chain["hook"], chain["policy"]) == ({"hook": "output", "priority": 5}, "drop")
    assert [row["name"] for row in found["objects"]] == ["hits"]
    elements = [each for row in found["elements"] for each in row["elements"]]
    assert {row["key"]["value"] for row in elements} == {"cb007107", "cb007108"}
    first, second, third, nat = found["rules"]
    assert "enemies" in {row.get("set") for row in first["expressions"]}
    assert first["expressions"][-1]["data"] == {"verdict": {"code": "drop"}}
    assert second["expressions"][-1]["data"] == {"verdict": {"code": "jump", "chain": "other"}}
    assert third["expressions"][0]["prefix"] == "evil"
    target = nat["expressions"][-1]
    assert target["name"] == "DNAT" and socket.inet_aton("10.0.0.1").hex() in target["info"]
    assert nat["table"].encode() in base64.b64decode(nat["raw"])


def test_an_expression_that_is_not_known_keeps_its_numbers() -> None:
    data = attribute(1, b"newer\0") + attribute(2, attribute(3, b"\7"))
    assert expression(data) == {"expression": "newer", "attribute 3": "07"}
    assert expression(b"") == {"expression": None}
    assert expression(attribute(1, b"\xff") + attribute(2, b""))["expression"]["base64"] == "/w=="


def test_a_set_without_a_name_is_asked_for_by_none() -> None:
    assert nftables.question(b"\2\0\0\0") == b"\2\0\0\0" + attribute(1, b"") + attribute(2, b"")
    assert nftables.decode("rules", b"") == {"family": 0, "raw": ""}


def test_more_sets_than_are_asked_for() -> None:
    class Kernel:
        asked = 0

        def dump(self, kind: int, body: bytes) -> list[bytes]:
            if kind & 0xFF == 13:
                self.asked += 1
                return []
            return [bytes(4)] * (nftables.MAX_SETS + 5)

    kernel: Any = Kernel()
    assert list(nftables.rows(kernel, "elements")) == []
    assert kernel.asked == nftables.MAX_SETS
