"""Messages for the kernel, prepared: an interface, addresses, routes, neighbours, firewall rules.

Each is `PROTOCOL:HEXADECIMAL`, as the tool sends it.

Source: rtnetlink(7), linux/netfilter/nf_tables.h
"""

from __future__ import annotations

import socket
import struct

_ROUTE, _NETFILTER = 0, 12
_REQUEST, _ACK, _NEW = 1, 4, 0x600
"""Flags: `_NEW` is to be made, and not to be there yet."""
_INET = 2


def interface(name: str, index: int) -> str:
    """A bridge that is up; the index is free in a network namespace of one's own."""
    head = struct.pack("=BBHiII", 0, 0, 0, index, 1, 1)
    kind = _attribute(18, _attribute(1, b"bridge"))
    return _route(16, head + _attribute(3, name.encode() + b"\0") + kind)


def address(index: int, ip: str) -> str:
    """An address of an interface."""
    raw = socket.inet_aton(ip)
    head = struct.pack("=BBBBI", _INET, 32, 0, 0, index)
    return _route(20, head + _attribute(2, raw) + _attribute(1, raw))


def route(index: int, ip: str) -> str:
    """A route to one address."""
    head = struct.pack("=BBBBBBBBI", _INET, 32, 0, 0, 254, 3, 253, 1, 0)
    out = _attribute(4, struct.pack("=i", index))
    return _route(24, head + _attribute(1, socket.inet_aton(ip)) + out)


def neighbour(index: int, ip: str, mac: str) -> str:
    """A permanent neighbour."""
    head = struct.pack("=BBHiHBB", _INET, 0, 0, index, 0x80, 0, 0)
    link = bytes.fromhex(mac.replace(":", ""))
    return _route(28, head + _attribute(1, socket.inet_aton(ip)) + _attribute(2, link))


def firewall(table: str, comment: str) -> str:
    """A table with a chain, and in that a rule with a comment, that accepts everything."""
    called = _attribute(1, table.encode() + b"\0")
    chain = b"input\0"
    remark = bytes([0, len(comment) + 1]) + comment.encode() + b"\0"
    rule = called + _attribute(2, chain) + _nested(4, _accept()) + _attribute(7, remark)
    batch = [
        _message(16, _REQUEST, b"\0\0" + struct.pack(">H", 10)),
        _message(10 << 8, _REQUEST | _NEW, bytes([_INET, 0, 0, 0]) + called),
        _message(
            10 << 8 | 3, _REQUEST | _NEW, bytes([_INET, 0, 0, 0]) + called + _attribute(3, chain)
        ),
        _message(10 << 8 | 6, _REQUEST | _ACK | 0xC00, bytes([_INET, 0, 0, 0]) + rule),
        _message(17, _REQUEST, b"\0\0" + struct.pack(">H", 10)),
    ]
    return f"{_NETFILTER}:{b''.join(batch).hex()}"


def _accept() -> bytes:
    verdict = _nested(2, _nested(2, _attribute(1, struct.pack(">I", 1))))
    data = _nested(2, _attribute(1, struct.pack(">I", 0)) + verdict)
    return _nested(1, _attribute(1, b"immediate\0") + data)


def _route(kind: int, body: bytes) -> str:
    return f"{_ROUTE}:{_message(kind, _REQUEST | _ACK | _NEW, body).hex()}"


def _message(kind: int, flags: int, body: bytes) -> bytes:
    packed = struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body
    return packed + bytes(-len(packed) % 4)


def _attribute(kind: int, value: bytes) -> bytes:
    packed = struct.pack("=HH", 4 + len(value), kind) + value
    return packed + bytes(-len(packed) % 4)


def _nested(kind: int, value: bytes) -> bytes:
    return _attribute(kind | 0x8000, value)
