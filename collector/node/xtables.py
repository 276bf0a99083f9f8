"""The rules of the older iptables (`iptables-legacy`), from the kernel's own copy of its tables.

Only tables that a namespace has already are asked for: asking for another one would make it.
Matches and targets have their data as the kernel keeps it; `raw` is the whole table, base64,
unless it is long.

Source: include/uapi/linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h, x_tables.h
"""

from __future__ import annotations

import base64
import ctypes
import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from collector.documents import portable
from collector.node.netlink_fields import NetlinkRow

_GET_INFO, _GET_ENTRIES = 64, 65
_NAME, _INFO, _ENTRIES = 32, 84, 40
"""Bytes of a table's name, of what tells its size, and in front of its entries."""
MAX_TABLE = 4 * 1024 * 1024
"""Bytes of one table; more is no table of a pod's."""
MAX_RAW = 512 * 1024
"""Bytes of a table that is kept as it is, beside its decoded rules."""
_HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
_VERDICTS = {-1: "DROP", -2: "ACCEPT", -3: "STOLEN", -4: "QUEUE", -5: "RETURN"}
_PART = struct.Struct("=H29sB")
"""Size, name and revision of a match or a target."""
_libc = ctypes.CDLL(None, use_errno=True)


class _XtablesFamily(NamedTuple):
    name: str
    family: int
    level: int
    head: struct.Struct
    """Source, destination, their masks; interfaces, their masks; protocol."""
    size: int
    """Of what is in front of an entry's matches."""
    offsets: int
    """Where an entry says where its target and the next entry are."""


FAMILIES = (
    _XtablesFamily(
        "ip", socket.AF_INET, socket.SOL_IP, struct.Struct("=4s4s4s4s16s16s32xHBB"), 112, 88
    ),
    _XtablesFamily(
        "ip6",
        socket.AF_INET6,
        socket.IPPROTO_IPV6,
        struct.Struct("=16s16s16s16s16s16s32xHxBB"),
        168,
        140,
    ),
)


class RuleTable(NamedTuple):
    """A table, as the kernel keeps it."""

    family: _XtablesFamily
    name: str
    info: bytes
    blob: bytes

    @property
    def head(self) -> NetlinkRow:
        """Return what it is called, where its chains begin, and, unless it is long, all of it."""
        valid, *entries = struct.unpack_from("=I5I", self.info, _NAME)
        raw = base64.b64encode(self.blob).decode() if len(self.blob) <= MAX_RAW else None
        return {
            "family": self.family.name,
            "table": self.name,
            "chains": {_HOOKS[n]: at for n, at in enumerate(entries) if valid >> n & 1},
            "raw": raw,
        }

    def entries(self) -> Iterator[NetlinkRow]:
        """Yield its rules. What is no entry ends the list."""
        start, family = 0, self.family
        named = {"family": family.name, "table": self.name}
        while start + family.size <= len(self.blob):
            target, following = struct.unpack_from("=HH", self.blob, start + family.offsets)
            if not family.size <= target < following <= len(self.blob) - start:
                return
            entry = self.blob[start : start + following]
            yield {**named, "offset": start, **_entry(family, entry, target)}
            start += following


def tables(names: dict[str, list[str]], limit: int = MAX_TABLE) -> Iterator[RuleTable]:
    """Yield the tables of these names, by their family (`ip`, `ip6`). Raises `OSError`."""
    for family in FAMILIES:
        if names.get(family.name):
            # The tables are options of any raw socket; one of this protocol gets no packets
            # meanwhile.
            with socket.socket(family.family, socket.SOCK_RAW, socket.IPPROTO_RAW) as kernel:
                for name in names[family.name]:
                    yield RuleTable(family, name, *_table(kernel, family, name, limit))


def _table(
    kernel: socket.socket, family: _XtablesFamily, name: str, limit: int
) -> tuple[bytes, bytes]:
    # A table that changes between both questions makes the second one fail with EAGAIN.
    info = _ask(kernel, family, _GET_INFO, name.encode()[:_NAME], _INFO)
    size = struct.unpack_from("=I", info, _INFO - 4)[0]
    if size > limit:
        raise OSError(errno.EFBIG, f"The table {name} has {size} bytes")
    question = struct.pack(f"={_NAME}sI", name.encode(), size)
    return info, _ask(kernel, family, _GET_ENTRIES, question, _ENTRIES + size)[_ENTRIES:]


def _ask(
    kernel: socket.socket, family: _XtablesFamily, option: int, question: bytes, size: int
) -> bytes:
    """Return what an option of a socket is; unlike Python's own call, the kernel is told more."""
    # The question is in the buffer of the answer; Python's call hands over an empty one.
    buffer = ctypes.create_string_buffer(question, size)
    length = ctypes.c_uint32(size)
    if _libc.getsockopt(kernel.fileno(), family.level, option, buffer, ctypes.byref(length)):
        code = ctypes.get_errno()
        raise OSError(code, f"The kernel does not tell: {os.strerror(code)}")
    return buffer.raw[: length.value]


def _entry(family: _XtablesFamily, entry: bytes, target: int) -> NetlinkRow:
    source, destination, source_mask, mask, inside, outside, protocol, flags, inverted = (
        family.head.unpack_from(entry)
    )
    # The counters are the last thing in front of the matches.
    packets, size = struct.unpack_from("=QQ", entry, family.size - 16)
    return {
        "source": _network(source, source_mask),
        "destination": _network(destination, mask),
        "in": portable(inside.rstrip(b"\0")),
        "out": portable(outside.rstrip(b"\0")),
        "protocol": protocol,
        "flags": flags,
        "inverted": inverted,
        "packets": packets,
        "bytes": size,
        "matches": [_row(name, rest) for name, rest in _parts(entry[family.size : target])],
        "target": next((_target(*part) for part in _parts(entry[target:])), None),
    }


def _network(place: bytes, mask: bytes) -> str:
    return f"{ipaddress.ip_address(place)}/{ipaddress.ip_address(mask)}"


def _parts(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and data of each match, or of the target."""
    start = 0
    while start + _PART.size <= len(data):
        size, name, _ = _PART.unpack_from(data, start)
        if not _PART.size <= size <= len(data) - start:
            return
        yield name.split(b"\0")[0], data[start + _PART.size : start + size]
        start += size


def _row(name: bytes, rest: bytes) -> NetlinkRow:
    return {"name": portable(name), "info": rest.hex()}


def _target(name: bytes, rest: bytes) -> NetlinkRow:
    """Return a target: where it leads to, or the name of the chain that begins here."""
    # iptables begins each chain of a user's with a target of this name, which is never reached, and
    # ends the table with one.
    if name == b"ERROR":
        return {"chain": portable(rest.split(b"\0")[0])}
    if name or len(rest) < 4:
        return _row(name, rest)
    # The standard target has no name. Its number is a verdict where it is negative, else the offset
    # of the rule to go on at.
    verdict = struct.unpack_from("=i", rest)[0]
    return {"verdict": _VERDICTS[verdict]} if verdict in _VERDICTS else {"jump": verdict}
