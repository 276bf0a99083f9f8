"""The sockets of a network namespace as the kernel's second way of telling shows them: sock_diag.

What hides a connection from /proc/net seldom hides it here. Packet, netlink and vsock sockets are
decoded, too.

Source: sock_diag(7), include/uapi/linux/inet_diag.h, packet_diag.h, unix_diag.h, netlink_diag.h,
vm_sockets_diag.h
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from collector.documents import portable
from collector.node.listening import BY_FAMILY
from collector.node.netlink import Netlink
from collector.node.netlink_fields import (
    NetlinkRow,
    NetlinkSchema,
    address,
    bits,
    digits,
    fields,
    flags,
    number,
    text,
)
from collector.node.socket_tables import NETLINK_PROTOCOLS, TYPES, TcpState

_EVERY = 0xFFFFFFFF
"""All states, or any number."""
_INET_EXTRAS: NetlinkSchema = {
    8: ("shutdown", number),
    15: ("mark", number),
    17: ("cgroupClass", number),
    21: ("cgroup", number),
    22: ("options", digits),
}
_UNIX_EXTRAS: NetlinkSchema = {
    1: ("file", digits),
    2: ("peer", number),
    3: ("waiting", digits),
    4: ("queue", digits),
    6: ("shutdown", number),
    7: ("uid", number),
}
_PACKET_FLAGS = ("running", "auxData", "origDev", "vnetHeader", "loss")
_PACKET_EXTRAS: NetlinkSchema = {
    0: ("info", bytes),
    1: ("multicast", digits),
    2: ("receiveRing", digits),
    3: ("transmitRing", digits),
    4: ("fanout", digits),
    5: ("uid", number),
    7: ("filter", digits),
}
_PACKET_INFO = struct.Struct("=IIIIII")
_NETLINK_EXTRAS: NetlinkSchema = {
    1: ("groups", digits),
    4: (
        "flags",
        flags(
            ("callback", "packetInfo", "broadcastError", "noNobufs", "listenAll", "capAck"), number
        ),
    ),
}


class _SocketFamily(NamedTuple):
    """A sort of sockets, by the request for it."""

    question: bytes
    least: int
    """Bytes in front of a row's attributes."""
    decode: Callable[[bytes], NetlinkRow]
    symbol: str
    """A function that the kernel has where it can tell, without loading a module for it."""
    creator: str = ""
    """A function that it has where there can be such sockets."""


def _inet(family: int, protocol: int) -> bytes:
    return struct.pack("=BBBxI48x", family, protocol, 0, _EVERY)


def _of_inet(protocol: str) -> Callable[[bytes], NetlinkRow]:
    def decode(body: bytes) -> NetlinkRow:
        family, state = body[0], body[1]
        # Ports and addresses are in network order, all else is in the machine's.
        ports = struct.unpack_from("!HH", body, 4)
        width = 4 if family == socket.AF_INET else 16
        ends = (body[8 : 8 + width], body[24 : 24 + width])
        uid, inode = struct.unpack_from("=II", body, 64)
        local, remote = (
            {"address": address(end), "port": port} for end, port in zip(ends, ports, strict=True)
        )
        return {
            "protocol": protocol if family == socket.AF_INET else f"{protocol}6",
            "local": local,
            "remote": remote,
            "interface": struct.unpack_from("=I", body, 40)[0],
            "state": TcpState(state).name if 0 < state <= len(TcpState) else str(state),
            "uid": uid,
            "inode": inode,
        } | fields(body[72:], _INET_EXTRAS)

    return decode


def _unix(body: bytes) -> NetlinkRow:
    _, kind, state, _, inode = struct.unpack_from("=BBBBI", body)
    rest = fields(body[16:], {0: ("path", bytes)} | dict(_UNIX_EXTRAS))
    if isinstance(path := rest.get("path"), bytes):
        # An abstract name begins with a NUL, and may hold others. ss and /proc show that as an @.
        hidden = path.startswith(b"\0")
        rest["path"] = portable(b"@" + path[1:] if hidden else path.rstrip(b"\0"))
    head = {"protocol": "unix", "type": TYPES.get(kind, str(kind)), "inode": inode}
    return head | {"listening": state == TcpState.LISTEN, "state": state} | rest


def _packet(body: bytes) -> NetlinkRow:
    _, kind, protocol, inode = struct.unpack_from("=BBHI", body)
    rest = fields(body[16:], _PACKET_EXTRAS)
    info = rest.pop("info", b"")
    if isinstance(info, bytes) and len(info) >= _PACKET_INFO.size:
        index, version, *_, told = _PACKET_INFO.unpack_from(info)
        rest |= {"interface": index, "version": version, "flags": bits(told, _PACKET_FLAGS)}
    return {
        "protocol": "packet",
        "type": TYPES.get(kind, str(kind)),
        "ethertype": protocol,
        "inode": inode,
    } | rest


def _netlink(body: bytes) -> NetlinkRow:
    _, kind, protocol, state, port, remote, group, inode = struct.unpack_from("=BBBBIIII", body)
    return {
        "protocol": "netlink",
        "type": TYPES.get(kind, str(kind)),
        "family": NETLINK_PROTOCOLS.get(protocol, protocol),
        "state": state,
        "port": port,
        "remotePort": remote,
        "remoteGroup": group,
        "inode": inode,
    } | fields(body[28:], _NETLINK_EXTRAS)


def _vsock(body: bytes) -> NetlinkRow:
    _, kind, state, shutdown, cid, port, remote, remote_port, inode = struct.unpack_from(
        "=BBBBIIIII", body
    )
    return {
        "protocol": "vsock",
        "type": TYPES.get(kind, str(kind)),
        "local": {"address": str(cid), "port": port},
        "remote": {"address": str(remote), "port": remote_port},
        "state": state,
        "shutdown": shutdown,
        "inode": inode,
    } | fields(body[32:], {0: ("name", text)})


def _other(family: int, protocol: int, show: int) -> bytes:
    # The last two numbers are a socket's cookie: all ones stand for any.
    return struct.pack("=BBHIIII", family, protocol, 0, 0, show, _EVERY, _EVERY)


_AF_VSOCK = 40
FAMILIES: dict[str, _SocketFamily] = {
    f"{name}{suffix}": _SocketFamily(
        _inet(family, number_), 72, _of_inet(name), f"{name}_diag_dump"
    )
    # Raw sockets of every protocol are asked for as IPPROTO_RAW.
    for name, number_ in (("tcp", 6), ("udp", 17), ("udplite", 136), ("raw", 255))
    for family, suffix in ((socket.AF_INET, ""), (socket.AF_INET6, "6"))
} | {
    "packet": _SocketFamily(_other(socket.AF_PACKET, 0, 0x2F), 16, _packet, "packet_diag_dump"),
    "netlink": _SocketFamily(
        _other(socket.AF_NETLINK, 255, 0xA), 28, _netlink, "netlink_diag_dump"
    ),
    "vsock": _SocketFamily(
        struct.pack("=BBHIIIII", _AF_VSOCK, 0, 0, _EVERY, 0, 0, _EVERY, _EVERY),
        32,
        _vsock,
        "vsock_diag_dump",
        "vsock_create",
    ),
    "unix": _SocketFamily(
        struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, _EVERY, 0, 0x5F, _EVERY, _EVERY),
        16,
        _unix,
        "unix_diag_dump",
    ),
}
"""By the name of the protocol, the largest table last."""


def rows(kernel: Netlink, name: str, holders: Mapping[int, list[int]]) -> Iterator[NetlinkRow]:
    """Yield the sockets of one of the `FAMILIES`, each with the processes that have it open."""
    family = FAMILIES[name]
    for body in kernel.dump(BY_FAMILY, family.question):
        if len(body) >= family.least:
            row = family.decode(body)
            yield row | {"pids": holders.get(row["inode"], [])}
