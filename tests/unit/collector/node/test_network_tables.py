"""The three parts of what a network namespace has."""

from __future__ import annotations

import errno
import json
import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from collector.node import network_tables
from collector.node.network_tables import (
    WrongNamespace,
    enter_namespace,
    read_connections,
    read_firewall,
    read_network,
)
from collector.node.procfs import Process
from collector.node.saved_rules import saved_rules
from collector.node.tables import Tables
from tests.unit.collector.node.namespaces import MAKES_RULES, new_network, space_of, within
from tests.unit.collector.node.test_netlink_fields import attribute

root_only = pytest.mark.skipif(not MAKES_RULES, reason="makes firewall rules")
RULE = "iptables-legacy -A OUTPUT -d 203.0.113.7 -j DROP; iptables -A INPUT -s 203.0.113.9 -j DROP"
NOTHING = frozenset[str]()


@root_only
def test_a_kernel_is_not_asked_for_what_it_would_load_a_module_for() -> None:
    def read() -> tuple[Tables, Tables, bool]:
        network, firewall = Tables(100_000), Tables(100_000)
        with Process.open(pid) as process:
            read_network(network, process, {}, NOTHING)
            return network, firewall, read_firewall(firewall, process, NOTHING)

    with new_network() as pid:
        network, firewall, has = within(pid, read)
    assert network.rows["links"] and not network.missing
    assert set(firewall.rows) == {"legacyTables", "legacy"} and not has


@root_only
@pytest.mark.parametrize("symbols", [None, NOTHING])
def test_sockets_by_sock_diag_or_from_proc(symbols: frozenset[str] | None) -> None:
    def read() -> dict[int, Any]:
        with ExitStack() as stack:
            kinds = [
                (socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)),
                (socket.AF_NETLINK, socket.SOCK_RAW, 0),
                (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP),
                (socket.AF_INET6, socket.SOCK_DGRAM, 0),
                (socket.AF_UNIX, socket.SOCK_STREAM, 0),
            ]
            made = [stack.enter_context(socket.socket(*kind)) for kind in kinds]
            made[0].bind(("lo", 3))
            made[1].bind((0, 0))
            made[3].bind(("::1", 4446))
            made[4].bind("\0hidden")
            holders = {os.fstat(each.fileno()).st_ino: [7] for each in made}
            tables = Tables(100_000)
            with Process.open(pid) as process:
                read_network(tables, process, holders, symbols)
        assert not tables.missing.keys() - {"vsock sockets"}
        rows = [json.loads(row) for row in tables.rows["sockets"]]
        return {row["inode"]: row for row in rows if row["inode"] in holders}

    with new_network() as pid:
        packet, netlink, raw, udp, local = (row for _, row in sorted(within(pid, read).items()))
    assert all(row["pids"] == [7] for row in (packet, netlink, raw, udp, local))
    assert (packet["type"], packet["ethertype"], packet["flags"]) == ("RAW", 3, ["running"])
    assert netlink["family"] == "route" and raw["protocol"] == "raw"
    assert udp["local"] == {"address": "::1", "port": 4446}
    assert (local["protocol"], local["path"]) == ("unix", "@hidden")


@root_only
def test_sockets_that_there_can_be_and_no_way_tells() -> None:
    def read() -> Tables:
        tables = Tables(100_000)
        with Process.open(pid) as process:
            read_network(tables, process, {}, frozenset({"vsock_create"}))
        return tables

    with new_network() as pid:
        assert {name: why for name, (why, _) in within(pid, read).missing.items()} == {
            "vsock sockets": "NotSupported"
        }


def test_a_table_in_proc_that_was_cut(process: Process, tmp_path: Path) -> None:
    class Short(Process):
        def read(self, name: str, limit: int = 0) -> bytes:
            self.cut.append(name)
            return b""

    tables = Tables(1000)
    read_network(tables, Short(7, process.folder), {}, NOTHING)
    assert "packet sockets" in tables.cut and "tcp sockets" in tables.cut


@root_only
async def test_rules_of_both_sorts_also_as_the_nodes_programs_spell_them() -> None:
    def read() -> Tables:
        tables = Tables(100_000)
        with Process.open(pid) as process:
            assert read_firewall(tables, process, None)
        return tables

    with new_network(RULE) as pid:
        tables = within(pid, read)
        told = await saved_rules(space_of(pid), [2**22 - 1, pid], ["rules", "legacy"])
        assert not await saved_rules(b"net:[1]", [pid], ["rules"])
        assert not await saved_rules(space_of(pid), [pid], ["links"])
    assert tables.rows["rules"] and tables.rows["legacy"] and not tables.missing
    assert "-A OUTPUT -d 203.0.113.7/32 -j DROP" in told["iptables-legacy-save"]
    assert "-A INPUT -s 203.0.113.9/32 -j DROP" in told["iptables-save"]


@root_only
async def test_what_a_program_writes_is_cut() -> None:
    with new_network(RULE) as pid:
        told = await saved_rules(space_of(pid), [pid], ["legacy"], most=10)
    assert told["iptables-legacy-save"] == "# Generate"


@root_only
async def test_a_program_that_does_not_end_is_given_up() -> None:
    with new_network(RULE) as pid:
        assert await saved_rules(space_of(pid), [pid], ["legacy"], seconds=0) == {}


def test_a_process_in_another_namespace() -> None:
    with Process.open(os.getpid()) as process, pytest.raises(WrongNamespace):
        enter_namespace(process, b"net:[1]")


@pytest.fixture
def process(tmp_path: Path) -> Any:
    """A process of which /proc shows what a test writes."""
    (tmp_path / "net").mkdir()
    folder = os.open(tmp_path, os.O_RDONLY)
    yield Process(7, folder)
    os.close(folder)


def test_a_kernel_without_connection_tracking(process: Process) -> None:
    tables = Tables(1000)
    assert read_connections(tables, process, NOTHING) == "none"
    assert tables.missing["entries"][0] == "NotSupported"


def test_connections_of_the_node_that_are_a_pods(process: Process, tmp_path: Path) -> None:
    lines = [
        b"ipv4 2 udp 17 10 src=10.0.0.5 dst=8.8.8.8 sport=1 dport=53 src=8.8.8.8 dst=10.0.0.5",
        b"ipv4 2 udp 17 10 src=110.0.0.50 dst=8.8.8.8 sport=1 dport=53 src=8.8.8.8 dst=1.1.1.1",
        b"ipv4 2 udp 17 10 src=10.0.0.6 dst=8.8.8.8 sport=1 dport=53 src=8.8.8.8 dst=10.0.0.6",
        b"ipv6 10 udp 17 9 src=fe80:0000:0000:0000:0000:0000:0000:0001 dst=::2 sport=1 dport=2",
        b"nonsense 10.0.0.5",
    ]
    (tmp_path / "net/nf_conntrack").write_bytes(b"\n".join(lines))
    tables = Tables(10_000)
    wanted = frozenset({"10.0.0.5", "fe80::1"})
    assert read_connections(tables, process, NOTHING, wanted) == "proc"
    rows = [json.loads(row) for row in tables.rows["entries"]]
    assert [row["original"]["source"] for row in rows] == ["10.0.0.5", "fe80::1"]


def test_a_table_of_connections_without_end(process: Process, tmp_path: Path) -> None:
    (tmp_path / "net/nf_conntrack").write_bytes(b"x\n" * 100)
    assert len(list(network_tables.lines_of(process, "net/nf_conntrack", 21))) == 10


def test_tables_of_the_older_iptables_that_may_not_be_listed(process: Process) -> None:
    class Refusing(Process):
        def read(self, name: str, limit: int = 0) -> bytes:
            raise PermissionError(errno.EACCES, "not you")

    tables = Tables(1000)
    assert not read_firewall(tables, Refusing(7, process.folder), NOTHING)
    assert tables.missing == {"legacy": ("NotPermitted", "not you")}
    assert not read_firewall(Tables(1000), process, NOTHING)


def test_rules_that_may_not_be_read_are_asked_for_once(process: Process) -> None:
    class Refused(Tables):
        def read(self, name: str, *_: Any) -> bool:
            self.asked = [*getattr(self, "asked", []), name]
            return False

    tables = Refused(1000)
    assert read_firewall(tables, process, None) and tables.asked == ["tables"]


def test_connections_that_netlink_refuses_are_read_from_proc(
    process: Process, tmp_path: Path
) -> None:
    class Refused(Tables):
        def read(self, name: str, *_: Any) -> bool:
            self.note_missing(name, "NotPermitted", "not you")
            return False

    tables = Refused(1000)
    assert read_connections(tables, process, None) == "none"
    assert tables.missing == {"entries": ("NotPermitted", "not you")}
    (tmp_path / "net/nf_conntrack").write_bytes(b"ipv4 2 udp 17 10 src=10.0.0.5 dst=8.8.8.8")
    assert read_connections(tables, process, None) == "proc" and not tables.missing


def test_an_address_that_is_elsewhere_in_a_message_is_no_end_of_it() -> None:
    class Kernel:
        def dump(self, *_: Any) -> list[bytes]:
            label = bytes(4) + attribute(22, b"\n\0\0\5")
            return [label, bytes(4)]

    kernel: Any = Kernel()
    assert list(network_tables.from_kernel(kernel, frozenset({"10.0.0.5"}))) == []
    assert list(network_tables.from_kernel(kernel, NOTHING)) == [{"labels": "0a000005"}, {}]
