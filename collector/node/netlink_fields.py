"""Attributes of netlink's messages, by tables that say what each is called and how it is spelled.

An attribute that a table does not know, because the kernel is newer, is kept by its number, in
hexadecimal digits: nothing is left out, and nothing of any length or form fails::

    LINK = {3: ("name", text), 4: ("mtu", number)}
    fields(body, LINK)          # {"name": "eth0", "mtu": 1500, "attribute 99": "00ff"}

Source: include/uapi/linux/netlink.h
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from collector.documents import portable
from collector.node.netlink import attributes

NetlinkRow = dict[str, Any]
Decoder = Callable[[bytes], Any]
NetlinkSchema = Mapping[int, tuple[str, Decoder]]
_LARGEST = 8
"""Bytes of a number; a longer value is something else."""


def fields(data: bytes, schema: NetlinkSchema) -> NetlinkRow:
    """Return the attributes in `data`; one that comes again makes a list of its values."""
    row: NetlinkRow = {}
    repeated: set[str] = set()
    for kind, value in attributes(data):
        name, decoder = schema.get(kind, (f"attribute {kind}", digits))
        decoded = decoder(value)
        if name in repeated:
            row[name].append(decoded)
        elif name in row:
            row[name] = [row[name], decoded]
            repeated.add(name)
        else:
            row[name] = decoded
    row.pop("padding", None)
    return row


def digits(value: bytes) -> str:
    """Return bytes as hexadecimal digits."""
    return value.hex()


def number(value: bytes) -> int | str:
    """Return a number in this machine's order of bytes."""
    return int.from_bytes(value, sys.byteorder) if len(value) <= _LARGEST else value.hex()


def network_number(value: bytes) -> int | str:
    """Return a number in the network's order of bytes."""
    return int.from_bytes(value, "big") if len(value) <= _LARGEST else value.hex()


def signed(value: bytes) -> int | str:
    """Return a number in the network's order of bytes that may be less than 0."""
    return int.from_bytes(value, "big", signed=True) if len(value) <= _LARGEST else value.hex()


def text(value: bytes) -> Any:
    """Return a name, spelled as in `collector.documents`."""
    return portable(value.rstrip(b"\0"))


def address(value: bytes) -> str:
    """Return an IP address; of any other length, its digits."""
    if len(value) in (4, 16):
        return str(ipaddress.ip_address(value))
    return hardware(value)


def hardware(value: bytes) -> str:
    """Return the address of a network card."""
    return value.hex(":")


def flag(_: bytes) -> bool:
    """Return true: the attribute has no value, being there is all that it says."""
    return True


def nested(schema: NetlinkSchema) -> Decoder:
    """Return what decodes attributes within an attribute."""
    return lambda value: fields(value, schema)


def several(decoder: Decoder) -> Decoder:
    """Return what decodes a list: attributes whose numbers mean nothing."""
    return lambda value: [decoder(part) for _, part in attributes(value)]


def word(words: Mapping[int, str] | Sequence[str], of: Decoder = network_number) -> Decoder:
    """Return what spells a number by its word; one that is not known stays a number."""
    known = words if isinstance(words, Mapping) else dict(enumerate(words))

    def decode(value: bytes) -> Any:
        found = of(value)
        return known.get(found, found) if isinstance(found, int) else found

    return decode


def flags(names: Sequence[str], of: Decoder = network_number) -> Decoder:
    """Return what spells the bits of a number, the lowest first; unknown ones by their place."""

    def decode(value: bytes) -> Any:
        found = of(value)
        return bits(found, names) if isinstance(found, int) else found

    return decode


def bits(value: int, names: Sequence[str]) -> list[str]:
    """Return the words for the bits of a number."""
    places = (place for place in range(value.bit_length()) if value >> place & 1)
    return [names[place] if place < len(names) else f"bit {place}" for place in places]
