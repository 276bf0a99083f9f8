"""Sockets that are in no table of the network namespaces of a container's processes."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

import pytest

from collector.artifacts import network
from forensics_core.bundle.manifest import NotCaptured
from tests.integration.collector.artifacts.test_processes import capture_for
from tests.integration.collector.conftest import Bundle
from tests.unit.collector.node.test_deletedfiles import holding
from tests.unprivileged import SYS_PTRACE, without

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="of other namespaces")

AWAY = """
import socket, threading
libc = ctypes.CDLL(None)
def away(make):
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    assert not libc.unshare(0x40000000)
    made = make()
    assert not libc.setns(back, 0x40000000)
    os.close(back)
    return made
def raw(): return socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
def listening():
    made = socket.socket(); made.bind(("0.0.0.0", 4444)); made.listen(); return made
def local():
    made = socket.socket(socket.AF_UNIX); made.bind("\\0hidden"); made.listen(); return made
"""
THREAD = """
ready = threading.Event()
def work():
    global a
    assert not libc.unshare(0x400)
    a = away(listening); ready.set(); time.sleep(1000)
threading.Thread(target=work, daemon=True).start(); ready.wait()
"""


async def gaps(
    pid: int, bundle: Bundle, limits: network.NetworkLimits = network.LIMITS
) -> list[NotCaptured]:
    capture = capture_for(bundle)
    await network.store(capture, [pid], limits)
    return list(capture.bundle.not_captured)


@pytest.mark.parametrize(
    ("holds", "protocol"),
    [
        ("a = away(listening)", "TCP"),
        ("a = away(local)", "UNIX-STREAM"),
        ("a = away(raw)", "PACKET"),
        ("a = away(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))", "NETLINK"),
        (THREAD, "TCP"),
    ],
)
async def test_a_socket_of_a_network_namespace_that_no_process_is_in_is_a_gap(
    tmp_path: Path, bundle: Bundle, holds: str, protocol: str
) -> None:
    with holding(tmp_path, AWAY + holds) as pid:
        (gap,) = await gaps(pid, bundle)
    assert (gap.what, gap.reason, gap.pid) == ("sockets in no table", "NotVisible", pid)
    assert re.search(rf": {protocol}( at [^/]+)? \(/proc/{pid}/", gap.message)
    assert not gap.requested


async def test_sockets_in_the_tables_are_no_gap(tmp_path: Path, bundle: Bundle) -> None:
    script = """
a = [listening(), local(), raw(), *socket.socketpair()]
b = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); b.bind((0, 0))
c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); c.bind(("127.0.0.1", 0))
d = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
"""
    with holding(tmp_path, AWAY + script) as pid:
        assert not await gaps(pid, bundle)


async def test_tables_that_were_cut_hide_no_socket_of_a_namespace_that_no_process_is_in(
    tmp_path: Path, bundle: Bundle
) -> None:
    with holding(tmp_path, AWAY + "a = away(listening); b = listening()") as pid:
        found = await gaps(pid, bundle, network.NetworkLimits(tables=10))
    assert {gap.reason for gap in found} == {"TooLarge", "NotVisible"}
    (hidden,) = [gap for gap in found if gap.reason == "NotVisible"]
    assert hidden.message.count("TCP") == 1


async def test_processes_that_may_not_be_looked_at_are_told(tmp_path: Path, bundle: Bundle) -> None:
    capture = capture_for(bundle)
    with holding(tmp_path, "") as pid:
        look = partial(network._find_spaces, [pid], 10)
        spaces = without(SYS_PTRACE, action=look)
    network._NetworkRound(capture, spaces, network.LIMITS).account()
    (gap,) = capture.bundle.not_captured
    assert (gap.what, gap.reason) == ("network.json, processes", "NotPermitted")
    assert str(pid) in gap.message


async def test_a_namespace_whose_processes_end_before_it_is_read_is_told(bundle: Bundle) -> None:
    capture, spaces = capture_for(bundle), network._NetworkNamespaces(10, {b"net:[7]": [2**22 + 1]})
    reading = network._NetworkRound(capture, spaces, network.LIMITS)
    assert [row async for row in reading.rows()] == []
    spaces.apart_unseen = 1
    reading.account()
    told = {(gap.what, gap.reason) for gap in capture.bundle.not_captured}
    assert told == {("network.json, namespaces", "Gone"), ("network.json, threads", "TooMany")}


async def test_sockets_that_cannot_be_asked_for_in_time_are_a_gap(
    tmp_path: Path, bundle: Bundle
) -> None:
    with holding(tmp_path, "a = 1") as pid:
        (gap,) = await gaps(pid, bundle, network.NetworkLimits(unlisted_seconds=0))
    assert (gap.what, gap.reason) == ("sockets in no table", "Hung")


async def test_threads_without_end_cost_their_process_nothing(
    tmp_path: Path, bundle: Bundle
) -> None:
    """Most have the open files of their process, which are counted once."""
    many = "import threading\n" + "\n".join(
        "threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()" for _ in range(5)
    )
    with holding(tmp_path, many) as pid:
        own = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        found = await gaps(pid, bundle, network.NetworkLimits(links=own + 1))
    (gap,) = [gap for gap in found if "TooLarge" in gap.reason]
    assert (gap.what, gap.requested) == ("network.json, sockets of threads", False)
