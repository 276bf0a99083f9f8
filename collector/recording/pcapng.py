"""Packets in the format pcapng, written block by block as they come.

::

    file = section()
    file += interface(0, "eth0", link_type(1), 65535)
    file += packet(0, nanoseconds, data, original_length, Direction.IN)

Source: https://ietf-opsawg-wg.github.io/draft-ietf-opsawg-pcap/draft-ietf-opsawg-pcapng.html
"""

from __future__ import annotations

import struct
from enum import IntEnum

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_MAGIC = 0x1A2B3C4D
_END, _APPLICATION, _NAME, _RESOLUTION, _FLAGS, _DROPPED = 0, 4, 2, 9, 2, 5
_NANOSECONDS = b"\x09"
_ETHERNET, _RAW, _UNKNOWN = 1, 101, 147
_LINK_TYPES = {1: _ETHERNET, 772: _ETHERNET, 0xFFFE: _RAW, 768: _RAW, 769: _RAW, 776: _RAW}
"""By the kernel's number of the hardware: Ethernet, loopback, and tunnels, which have no head."""


class Direction(IntEnum):
    """Which way a packet went."""

    UNKNOWN = 0
    IN = 1
    OUT = 2


def link_type(hardware: int) -> int:
    """Return what the packets of an interface begin with, by the kernel's number of its sort."""
    return _LINK_TYPES.get(hardware, _UNKNOWN)


def section(application: str = "kube-forensics") -> bytes:
    """Return what a file begins with."""
    # Version 1.0; how long it gets is not known yet.
    head = struct.pack("<IHHq", _MAGIC, 1, 0, -1)
    return _block(_SECTION, head + _options((_APPLICATION, application.encode())))


def interface(name: str, link: int, limit: int) -> bytes:
    """Return the description of the next interface: they count from 0 in their order.

    `limit` is how many bytes of a packet are kept.
    """
    head = struct.pack("<HHI", link, 0, limit)
    options = _options((_NAME, name.encode()), (_RESOLUTION, _NANOSECONDS))
    return _block(_INTERFACE, head + options)


def packet(number: int, time: int, data: bytes, length: int, direction: Direction) -> bytes:
    """Return a packet of the interface `number`; `time` is nanoseconds since 1970.

    `length` is how many bytes it had on its way.
    """
    head = struct.pack("<IIIII", number, time >> 32, time & 0xFFFFFFFF, len(data), length)
    flags = _options((_FLAGS, struct.pack("<I", direction)))
    return _block(_PACKET, head + _padded(data) + flags)


def statistics(number: int, time: int, dropped: int) -> bytes:
    """Return how many packets are missing, at the end of a file."""
    head = struct.pack("<III", number, time >> 32, time & 0xFFFFFFFF)
    return _block(_STATISTICS, head + _options((_DROPPED, struct.pack("<Q", dropped))))


def _options(*options: tuple[int, bytes]) -> bytes:
    each = (struct.pack("<HH", kind, len(value)) + _padded(value) for kind, value in options)
    return b"".join(each) + struct.pack("<HH", _END, 0)


def _padded(value: bytes) -> bytes:
    return value + bytes(-len(value) % 4)


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", len(body) + 12)
    # With its length at both ends a file can be read backwards.
    return struct.pack("<I", kind) + length + body + length
