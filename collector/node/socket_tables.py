"""The kernel's socket tables, decoded.

Source: proc_net(5), include/net/tcp_states.h
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from collector.documents import portable

TcpState = IntEnum(
    "TcpState",
    "ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN "
    "CLOSING NEW_SYN_RECV",
)

_END = rb"((?:[0-9A-F]{8}|[0-9A-F]{32}):[0-9A-F]{4})"
_INET = re.compile(
    rb" *\d+: " + _END + b" " + _END + rb" ([0-9A-F]{2}) \S+ \S+ \S+ +(\d+) +\d+ (\d+) "
)
_UNIX = re.compile(
    rb"[0-9A-Fa-f]+: [0-9A-F]{8} [0-9A-F]{8} ([0-9A-F]{8}) ([0-9A-F]{4}) ([0-9A-F]{2})"
    rb" +(\d+)(?: (.*))?"
)
INET = ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6")
"""Tables whose rows have two addresses."""
_LAST_COLUMN = ("packet", "netlink")
"""Tables whose rows end with the inode."""
TYPES = {1: "STREAM", 2: "DGRAM", 3: "RAW", 5: "SEQPACKET", 10: "PACKET"}
NETLINK_PROTOCOLS = {
    0: "route",
    4: "sock_diag",
    5: "nflog",
    6: "xfrm",
    7: "selinux",
    9: "audit",
    10: "fib",
    11: "connector",
    12: "netfilter",
    15: "uevent",
    16: "generic",
    21: "crypto",
}
_LISTENING = 0x10000

SocketRow = dict[str, Any]


def parse_inet(
    name: str, tables: Mapping[str, bytes], holders: Mapping[int, list[int]]
) -> list[SocketRow]:
    """Return the rows of the table `name` (`tcp`, `udp6`, ...), addresses decoded.

    `holders` says which processes have a socket's inode open. A line that is no row, because the
    table was cut, is left to the raw table.
    """
    lines = tables.get(name, b"").split(b"\n")[1:]
    matches = (_INET.match(line) for line in lines)
    return [_inet(name, match, holders) for match in matches if match]


def _inet(name: str, match: re.Match[bytes], holders: Mapping[int, list[int]]) -> SocketRow:
    local, remote, told, uid, node = (part.decode() for part in match.groups())
    inode, state = int(node), int(told, 16)
    return {
        "protocol": name,
        "local": address(local),
        "remote": address(remote),
        "state": TcpState(state).name if 0 < state <= len(TcpState) else str(state),
        "uid": int(uid),
        "inode": inode,
        "pids": holders.get(inode, []),
    }


def inodes(tables: Mapping[str, bytes]) -> set[int]:
    """Return the inodes of all sockets that these tables have a row of."""
    found: set[int] = set()
    for name, table in tables.items():
        lines = table.split(b"\n")[1:]
        if name in _LAST_COLUMN:
            last = (line.split()[-1:] for line in lines)
            found |= {int(words[0]) for words in last if words and words[0].isdigit()}
        elif name == "unix":
            found |= {int(match[4]) for line in lines if (match := _UNIX.fullmatch(line))}
        elif name in INET or name in ("icmp", "icmp6"):
            found |= {int(match[5]) for line in lines if (match := _INET.match(line))}
    return found


def address(text: str) -> SocketRow:
    """Return address and port of `0100007F:1F90`: words of 32 bits as this machine orders them."""
    digits, _, port = text.partition(":")
    words = [int(digits[start : start + 8], 16) for start in range(0, len(digits), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return {"address": str(ipaddress.ip_address(packed)), "port": int(port, 16)}


def parse_unix(table: bytes, holders: Mapping[int, list[int]]) -> list[SocketRow]:
    """Return the rows of the table of Unix sockets; an abstract name begins with `@`.

    A line that is no row is the rest of a name with a line break in it, and is left to the raw
    table.
    """
    matches = (_UNIX.fullmatch(line) for line in table.split(b"\n"))
    return [_unix(match, holders) for match in matches if match]


def _unix(match: re.Match[bytes], holders: Mapping[int, list[int]]) -> SocketRow:
    kind, inode = int(match[2], 16), int(match[4])
    return {
        "type": TYPES.get(kind, str(kind)),
        "listening": bool(int(match[1], 16) & _LISTENING),
        "state": int(match[3], 16),
        "inode": inode,
        "path": portable(match[5]) if match[5] is not None else None,
        "pids": holders.get(inode, []),
    }


_PACKET = re.compile(rb"\S+ +\d+ +(\d+) +([0-9a-f]{4}) +(-?\d+) +(\d) +\d+ +(\d+) +(\d+) *")
_NETLINK = re.compile(rb"\S+ +(\d+) +(-?\d+) +([0-9a-f]{8}) +.* (\d+) *")


def parse_packet(table: bytes, holders: Mapping[int, list[int]]) -> list[SocketRow]:
    """Return the rows of the table of packet sockets."""
    matches = (_PACKET.fullmatch(line) for line in table.split(b"\n"))
    return [_packet([*match.groups()], holders) for match in matches if match]


def _packet(words: list[bytes], holders: Mapping[int, list[int]]) -> SocketRow:
    kind, protocol, interface, running, uid, inode = words
    return {
        "protocol": "packet",
        "type": TYPES.get(int(kind), kind.decode()),
        "ethertype": int(protocol, 16),
        "interface": int(interface),
        "flags": ["running"] if running == b"1" else [],
        "uid": int(uid),
        "inode": int(inode),
        "pids": holders.get(int(inode), []),
    }


def parse_netlink(table: bytes, holders: Mapping[int, list[int]]) -> list[SocketRow]:
    """Return the rows of the table of netlink sockets."""
    matches = (_NETLINK.fullmatch(line) for line in table.split(b"\n"))
    return [_netlink([*match.groups()], holders) for match in matches if match]


def _netlink(words: list[bytes], holders: Mapping[int, list[int]]) -> SocketRow:
    protocol, port, groups, inode = words
    return {
        "protocol": "netlink",
        "family": NETLINK_PROTOCOLS.get(int(protocol), int(protocol)),
        "port": int(port),
        "groups": groups.decode(),
        "inode": int(inode),
        "pids": holders.get(int(inode), []),
    }
