"""What is in a map of eBPF: the first of its values, by bpf(2).

Looking a value up from here leaves it, and its age in a map that forgets, as they are. Of maps with
a value for each processor, and of queues, which can only be emptied, nothing is read::

    values(bpf, descriptor, "hash", key_size=4, value_size=64)

Source: bpf(2), kernel/bpf/syscall.c (`map_lookup_elem`, `map_get_next_key`)
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterator
from typing import Any

from collector.documents import portable
from collector.node.abandonable import raise_if_abandoned

MAX_VALUES = 256
"""Values of one map."""
MAX_VALUE = 4096
"""Bytes of a key, or of a value."""
MAX_MAP = 64 * 1024
"""Bytes of one map, keys and values."""
_LOOKUP, _NEXT_KEY = 1, 4
_READABLE = frozenset({"hash", "array", "lru_hash", "lpm_trie"})
BpfCall = Callable[[int, bytes], tuple[int, bytes]]


def values(
    bpf: BpfCall, descriptor: int, kind: object, key_size: int, value_size: int
) -> dict[str, Any]:
    """Return `values`, each with its key in hexadecimal, and `valuesCut` where there are more, or
    may be: whoever makes a map can have the kernel refuse to show them.

    Zeros at the end of a value are left out. Of other maps: nothing.
    """
    if kind not in _READABLE or max(key_size, value_size) > MAX_VALUE or not key_size:
        return {}
    found, room = list[dict[str, object]](), MAX_MAP
    try:
        for number, key in enumerate(_keys(bpf, descriptor, key_size)):
            raise_if_abandoned()
            room -= key_size + value_size
            if room < 0 or number >= MAX_VALUES:
                return {"values": found, "valuesCut": True}
            value = _lookup(bpf, descriptor, key, value_size)
            if value is not None:
                found.append({"key": key.hex(), "value": portable(value.rstrip(b"\0"))})
    except OSError:
        return {"values": found, "valuesCut": True}
    return {"values": found}


def _keys(bpf: BpfCall, descriptor: int, size: int) -> Iterator[bytes]:
    """Yield keys; of a map that changes meanwhile, some may come again."""
    key, following = ctypes.create_string_buffer(size), ctypes.create_string_buffer(size)
    before = 0
    for _ in range(MAX_VALUES + 1):
        attributes = struct.pack("=I4xQQ", descriptor, before, ctypes.addressof(following))
        try:
            bpf(_NEXT_KEY, attributes)
        except FileNotFoundError:
            return  # that was the last
        ctypes.memmove(key, following, size)
        before = ctypes.addressof(key)
        yield key.raw


def _lookup(bpf: BpfCall, descriptor: int, key: bytes, size: int) -> bytes | None:
    asked, value = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(size)
    places = ctypes.addressof(asked), ctypes.addressof(value)
    try:
        bpf(_LOOKUP, struct.pack("=I4xQQQ", descriptor, *places, 0))
    except FileNotFoundError:
        return None  # it went meanwhile
    return value.raw
