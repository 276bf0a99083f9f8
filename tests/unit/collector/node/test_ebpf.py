"""Programs, maps and links of eBPF, and who holds them."""

from __future__ import annotations

import errno
import os
import platform
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collector.node import ebpf
from collector.node.ebpf import objects
from collector.node.ebpf_links import link_fields
from collector.node.holders import find_holders
from tests.unit.collector.node.bpf_objects import (
    CGROUP_SKB,
    EVIL,
    LOOT,
    RAW_TRACEPOINT,
    SPY,
    bpf_is_permitted,
    new_map,
    on_cgroup,
    on_tracepoint,
    program,
)

bpf = pytest.mark.skipif(not bpf_is_permitted(), reason="this kernel makes no such objects for us")


@bpf
def test_a_program_with_its_map_and_who_holds_them() -> None:
    with new_map(LOOT.encode()) as room, program(EVIL.encode(), uses=room):
        (row,) = (row for row in objects("program") if row["name"] == EVIL)
        (kept,) = (each for each in objects("map") if each["name"] == LOOT)
        holders = find_holders([os.getpid()]).objects
    assert (row["type"], row["uid"], row["maps"]) == ("socket_filter", 0, [kept["id"]])
    assert len(row["tag"]) == 16 and row["instructionBytes"] == 32
    age = datetime.now(UTC) - datetime.fromisoformat(row["loadedAt"])
    assert timedelta(seconds=-60) < age < timedelta(minutes=10)
    assert (kept["type"], kept["keySize"], kept["valueSize"], kept["maxEntries"]) == (
        "array",
        4,
        8,
        3,
    )
    assert holders["prog", row["id"]] == holders["map", kept["id"]] == [os.getpid()]


@bpf
def test_a_link_says_where_its_program_hangs() -> None:
    with program(SPY.encode(), RAW_TRACEPOINT) as spy, on_tracepoint(spy, b"sys_enter"):
        (row,) = (row for row in objects("program") if row["name"] == SPY)
        (link,) = (each for each in objects("link") if each["program"] == row["id"])
        holders = find_holders([os.getpid()]).objects
    assert (link["type"], link["target"]) == ("raw_tracepoint", "sys_enter")
    assert holders["link", link["id"]] == [os.getpid()]


@bpf
def test_a_link_to_a_cgroup() -> None:
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    place = next((row.split()[1] for row in mounts if row.split()[2] == "cgroup2"), None)
    if place is None:
        pytest.skip("this machine has no cgroups of version 2")
    folder = Path(place) / f"forensics-{os.getpid()}"
    folder.mkdir()
    try:
        with program(b"skb", CGROUP_SKB) as skb, on_cgroup(skb, str(folder)):
            (row,) = (row for row in objects("program") if row["name"] == "skb")
            (link,) = (each for each in objects("link") if each["program"] == row["id"])
            assert link["cgroup"] == folder.stat().st_ino
            assert link["attachType"] == "cgroup_inet_ingress"
    finally:
        folder.rmdir()


@bpf
def test_an_object_that_went_meanwhile_is_left_out() -> None:
    assert list(objects("program", [2**31])) == []


def test_a_machine_whose_call_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    with pytest.raises(OSError, match="not known here") as caught:
        list(objects("program"))
    assert caught.value.errno == errno.ENOSYS


def test_what_the_kernel_refuses() -> None:
    with pytest.raises(OSError, match="is refused"):
        ebpf.call_bpf(9999, bytes(4))


@pytest.mark.parametrize(
    ("kind", "rest", "row"),
    [
        ("raw_tracepoint", b"", {"target": "x"}),
        ("iter", b"", {"target": "x"}),
        (
            "tracing",
            struct.pack("=III", 24, 1, 77),
            {"attachType": "trace_fentry", "targetObject": 1, "targetBtf": 77},
        ),
        ("cgroup", struct.pack("=QI", 9, 1), {"cgroup": 9, "attachType": "cgroup_inet_egress"}),
        ("netns", struct.pack("=II", 9, 36), {"netnsInode": 9, "attachType": "sk_lookup"}),
        ("xdp", struct.pack("=I", 3), {"interface": 3}),
        ("tcx", struct.pack("=II", 3, 46), {"interface": 3, "attachType": "tcx_ingress"}),
        ("netkit", struct.pack("=II", 3, 999), {"interface": 3, "attachType": 999}),
        (
            "perf_event",
            struct.pack("=IIQII", 3, 0, 0, 0, 8),
            {"event": "kprobe", "target": "x", "offset": 8},
        ),
        ("perf_event", struct.pack("=I", 5), {"event": "tracepoint", "target": "x"}),
        (
            "netfilter",
            struct.pack("=IIiI", 2, 3, -100, 1),
            {"family": 2, "hook": 3, "priority": -100, "flags": 1},
        ),
        ("struct_ops", struct.pack("=I", 5), {"map": 5}),
        ("sockmap", struct.pack("=I", 5), {"map": 5}),
        ("kprobe_multi", struct.pack("=QI", 0, 12), {"count": 12}),
        ("newer", b"", {}),
    ],
)
def test_where_a_link_hangs(kind: str, rest: bytes, row: dict[str, object]) -> None:
    info = bytes(16) + rest
    assert link_fields(kind, info.ljust(64, b"\0"), b"x") == row
