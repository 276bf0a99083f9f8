"""Where the running kernel has the members of its structures, by its own description (BTF).

::

    layout = layouts({"file": ("f_inode", "private_data")})
    layout["file"].at["f_inode"]

Source: Documentation/bpf/btf.rst
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from collector.node.abandonable import raise_if_abandoned

KERNEL = Path("/sys/kernel/btf/vmlinux")
MAX_SIZE = 64 * 1024 * 1024
"""Bytes of a description that are read; kernels have some 6 MB."""
_MEMBERS = 100_000
"""Members that are passed in all: the structures that are wanted have some thousands."""
_STEPS = 64
"""Types between a member and the structure that it is."""
_HEAD = struct.Struct("=HBBIIIII")
_TYPE = struct.Struct("=III")
_MAGIC, _STRUCT, _UNION = 0xEB9F, 4, 5
_PASSED = frozenset({8, 9, 10, 11, 18})
"""Kinds that only say something of another type: typedef, volatile, const, restrict, tag."""
_MORE = {1: (4, 0), 3: (12, 0), 4: (0, 12), 5: (0, 12), 6: (0, 8), 13: (0, 8), 14: (4, 0)} | {
    15: (0, 12),
    17: (4, 0),
    19: (0, 12),
}
"""By kind: bytes that follow a type, and bytes for each of its parts."""


class NoLayout(OSError):
    """The kernel does not describe itself, or not what is asked for."""


@dataclass(frozen=True, slots=True)
class StructLayout:
    """One structure."""

    size: int
    at: Mapping[str, int]
    """Offsets in bytes, by the members' names."""


def layouts(
    wanted: Mapping[str, Sequence[str]], path: Path = KERNEL, *, most: int = MAX_SIZE
) -> dict[str, StructLayout]:
    """Return the structures that are wanted, each with these members; it takes up to 0.3 s.

    Raises `OSError`, also where one of them is missing.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise NoLayout(f"{path} has more than {most} bytes")
        return _Btf(data).layouts(wanted)
    except (struct.error, IndexError, RecursionError, ValueError) as error:
        raise NoLayout(f"{path} cannot be understood: {error}") from error


class _Btf:
    """A description, read through once: there are more than 100,000 types."""

    def __init__(self, data: bytes) -> None:
        magic, _, _, head, types, size, strings, _ = _HEAD.unpack_from(data)
        if magic != _MAGIC:
            raise NoLayout("the kernel's description has another byte order, or is none")
        self._data = data[head + types : head + types + size]
        self._strings = data[head + strings :]
        self._passed = 0
        self._places: list[int] = [0]
        self._types = self._walk()
        """Yields the types that nobody has passed yet."""

    def layouts(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, StructLayout]:
        found = {name: self._strings.find(b"\0%s\0" % name.encode()) for name in wanted}
        # At 0 is the name of those that have none.
        names = {at + 1: name for name, at in found.items() if at >= 0}
        places = dict[str, int]()
        for place, name, kind in self._types:
            if kind == _STRUCT and name in names:
                places.setdefault(names[name], place)
                if len(places) == len(names):
                    break  # most of all the types come later
        return {
            name: self._layout(name, places.get(name, 0), members)
            for name, members in wanted.items()
        }

    def _walk(self) -> Iterator[tuple[int, int, int]]:
        place, unpack, add = 0, _TYPE.unpack_from, self._places.append
        while place < len(self._data):
            name, info, _ = unpack(self._data, place)
            kind = info >> 24 & 31
            if not len(self._places) % 4096:
                raise_if_abandoned()
            add(place)
            yield place, name, kind
            fixed, each = _MORE.get(kind, (0, 0))
            place += 12 + fixed + each * (info & 0xFFFF)

    def _layout(self, name: str, place: int, members: Sequence[str]) -> StructLayout:
        found = dict(self._members(place)) if place else {}
        if missing := [member for member in members if member not in found]:
            raise NoLayout(f"this kernel has no {name}.{missing[0]}")
        return StructLayout(
            _TYPE.unpack_from(self._data, place)[2], {one: found[one] for one in members}
        )

    def _members(self, place: int, base: int = 0) -> Iterator[tuple[str, int]]:
        """Yield names and offsets; of members without a name, those in them."""
        _, info, _ = _TYPE.unpack_from(self._data, place)
        bits = 0xFFFFFF if info >> 31 else 0xFFFFFFFF
        for number in range(info & 0xFFFF):
            self._passed += 1
            if self._passed > _MEMBERS:
                raise ValueError("its structures are within each other without end")
            name, kind, offset = _TYPE.unpack_from(self._data, place + 12 + 12 * number)
            at = base + (offset & bits) // 8
            if name:
                yield self._strings[name : self._strings.index(b"\0", name)].decode(), at
            elif inner := self._resolved(kind):
                yield from self._members(inner, at)

    def _resolved(self, number: int) -> int:
        """Return where a structure or union is; 0 for any other type."""
        for _ in range(_STEPS):
            while number >= len(self._places) and next(self._types, None):
                pass
            place = self._places[number]
            _, info, further = _TYPE.unpack_from(self._data, place)
            kind = info >> 24 & 31
            if kind in {_STRUCT, _UNION}:
                return place
            if kind not in _PASSED:
                return 0
            number = further
        raise ValueError("a type stands for itself")
