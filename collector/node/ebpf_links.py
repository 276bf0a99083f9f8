"""Where a link of eBPF hangs, from what the kernel tells of it (`struct bpf_link_info`).

Source: include/uapi/linux/bpf.h
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from collector.documents import portable
from collector.node.ebpf_words import ATTACH_TYPES, PERF_EVENTS
from collector.node.netlink_fields import NetlinkRow

_UNION = 16
"""Where what differs by type begins."""


def link_fields(kind: str, info: bytes, name: bytes) -> NetlinkRow:
    """Return what is told of a link of this type; `name` is what it wrote of its target."""
    decoder = _BY_TYPE.get(kind)
    return decoder(info, name) if decoder else {}


def _attached(info: bytes, offset: int) -> object:
    number = struct.unpack_from("=I", info, offset)[0]
    return ATTACH_TYPES.get(number, number)


def _tracing(info: bytes, _: bytes) -> NetlinkRow:
    target, btf = struct.unpack_from("=II", info, _UNION + 4)
    return {"attachType": _attached(info, _UNION), "targetObject": target, "targetBtf": btf}


def _cgroup(info: bytes, _: bytes) -> NetlinkRow:
    cgroup = struct.unpack_from("=Q", info, _UNION)[0]
    return {"cgroup": cgroup, "attachType": _attached(info, _UNION + 8)}


def _on_network(info: bytes, _: bytes) -> NetlinkRow:
    inode = struct.unpack_from("=I", info, _UNION)[0]
    return {"netnsInode": inode, "attachType": _attached(info, _UNION + 4)}


def _on_interface(info: bytes, _: bytes) -> NetlinkRow:
    row: NetlinkRow = {"interface": struct.unpack_from("=I", info, _UNION)[0]}
    return row | {"attachType": _attached(info, _UNION + 4)}


def _xdp(info: bytes, _: bytes) -> NetlinkRow:
    return {"interface": struct.unpack_from("=I", info, _UNION)[0]}


def _named(_: bytes, name: bytes) -> NetlinkRow:
    return {"target": portable(name)}


def _perf_event(info: bytes, name: bytes) -> NetlinkRow:
    kind = struct.unpack_from("=I", info, _UNION)[0]
    offset = struct.unpack_from("=I", info, _UNION + 20)[0]
    row: NetlinkRow = {"event": PERF_EVENTS.get(kind, kind), "target": portable(name)}
    return row | ({"offset": offset} if row["event"] not in ("tracepoint", "event") else {})


def _netfilter(info: bytes, _: bytes) -> NetlinkRow:
    family, hook, priority, flags = struct.unpack_from("=IIiI", info, _UNION)
    return {"family": family, "hook": hook, "priority": priority, "flags": flags}


def _on_map(info: bytes, _: bytes) -> NetlinkRow:
    return {"map": struct.unpack_from("=I", info, _UNION)[0]}


def _several(info: bytes, _: bytes) -> NetlinkRow:
    return {"count": struct.unpack_from("=I", info, _UNION + 8)[0]}


_BY_TYPE: dict[str, Callable[[bytes, bytes], NetlinkRow]] = {
    "raw_tracepoint": _named,
    "tracing": _tracing,
    "cgroup": _cgroup,
    "iter": _named,
    "netns": _on_network,
    "xdp": _xdp,
    "perf_event": _perf_event,
    "kprobe_multi": _several,
    "struct_ops": _on_map,
    "netfilter": _netfilter,
    "tcx": _on_interface,
    "netkit": _on_interface,
    "sockmap": _on_map,
}
