"""Where the running kernel has the members of its structures, by its own description (BTF).

::

    (group,) = layouts([{"file": ("f_inode", "private_data")}])
    group["file"].at["f_inode"]

Source: Documentation/bpf/btf.rst
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
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
_MAGIC, _STRUCT, _UNION = 0xEB9F, 4, 5
_PASSED = frozenset({8, 9, 10, 11, 18})
"""Kinds that only say something of another type: typedef, volatile, const, restrict, tag."""
_MORE = {1: (1, 0), 3: (3, 0), 4: (0, 3), 5: (0, 3), 6: (0, 2), 13: (0, 2), 14: (1, 0)} | {
    15: (0, 3),
    17: (1, 0),
    19: (0, 3),
}
"""By kind: words that follow a type's three, and words for each of its parts."""
_FIXED = tuple(3 + _MORE.get(kind, (0, 0))[0] for kind in range(32))
_EACH = tuple(_MORE.get(kind, (0, 0))[1] for kind in range(32))
_ROUND = 4095
"""Types between two looks at whether anybody still waits, less one."""
_BROKEN = (struct.error, IndexError, RecursionError, ValueError)


class NoLayout(OSError):
    """The kernel does not describe itself, or not what is asked for."""


@dataclass(frozen=True, slots=True)
class StructLayout:
    """One structure."""

    size: int
    at: Mapping[str, int]
    """Offsets in bytes, by the members' names."""


def layouts(
    groups: Sequence[Mapping[str, Sequence[str]]], path: Path = KERNEL, *, most: int = MAX_SIZE
) -> list[dict[str, StructLayout] | NoLayout]:
    """Return the structures of each group, with these members, or why they are not known.

    It is one way through the description, which takes some 20 ms. Raises `OSError` where that
    cannot be read.
    """
    data = _read(path, most)
    try:
        btf = _Btf(data)
        btf.find(name for group in groups for name in group)
    except _BROKEN as error:
        raise _broken(path, error) from error
    return [_group(btf, group, path) for group in groups]


def _read(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise NoLayout(f"{path} has more than {most} bytes")
    return data


def _group(
    btf: _Btf, wanted: Mapping[str, Sequence[str]], path: Path
) -> dict[str, StructLayout] | NoLayout:
    try:
        return {name: btf.layout(name, members) for name, members in wanted.items()}
    except NoLayout as error:
        return error
    except _BROKEN as error:
        return _broken(path, error)


def _broken(path: Path, error: Exception) -> NoLayout:
    return NoLayout(f"{path} cannot be understood: {error}")


class _Btf:
    """A description, read through once and no further than needed: it has 100,000 types."""

    def __init__(self, data: bytes) -> None:
        magic, _, _, head, types, size, strings, _ = _HEAD.unpack_from(data)
        if magic != _MAGIC:
            raise NoLayout("the kernel's description has another byte order, or is none")
        self._data = data
        self._strings = head + strings
        self._words = memoryview(data)[head + types :][: size // 4 * 4].cast("I")
        self._passed = 0
        self._places = [0]
        """Where each type is, by its number."""
        self._next = 0
        """Where the first type is that nobody has passed yet."""
        self._structures = dict[str, int]()

    def find(self, names: Iterable[str]) -> None:
        """Look for these structures."""
        found = {name: self._data.find(b"\0%s\0" % name.encode(), self._strings) for name in names}
        # At 0 is the name of those that have none.
        left = {at + 1 - self._strings: name for name, at in found.items() if at >= 0}
        while left and (place := self._walk(left)) is not None:
            self._structures[left.pop(self._words[place])] = place

    def _walk(self, names: Container[int], number: int = 0) -> int | None:
        """Go on to the next structure with such a name, or past the type with this number.

        Return where it is; None where there is none.
        """
        words, places, place = self._words, self._places, self._next
        end = len(words)
        while place < end:
            if not len(places) & _ROUND:
                raise_if_abandoned()
            places.append(place)
            info = words[place + 1]
            kind = info >> 24 & 31
            self._next = place + _FIXED[kind] + _EACH[kind] * (info & 0xFFFF)
            if (kind == _STRUCT and words[place] in names) or len(places) == number + 1:
                return place
            place = self._next
        return None

    def layout(self, name: str, members: Sequence[str]) -> StructLayout:
        """Return a structure with these members."""
        place = self._structures.get(name)
        found = {} if place is None else dict(self._members(place))
        if missing := [member for member in members if member not in found]:
            raise NoLayout(f"this kernel has no {name}.{missing[0]}")
        size = 0 if place is None else self._words[place + 2]
        return StructLayout(size, {one: found[one] for one in members})

    def _members(self, place: int, base: int = 0) -> Iterator[tuple[str, int]]:
        """Yield names and offsets; of members without a name, those in them."""
        info = self._words[place + 1]
        bits = 0xFFFFFF if info >> 31 else 0xFFFFFFFF
        for number in range(info & 0xFFFF):
            self._passed += 1
            if self._passed > _MEMBERS:
                raise ValueError("its structures are within each other without end")
            at = place + 3 + 3 * number
            name, kind = self._words[at], self._words[at + 1]
            offset = base + (self._words[at + 2] & bits) // 8
            if name:
                yield self._text(name), offset
            elif (inner := self._resolved(kind)) is not None:
                yield from self._members(inner, offset)

    def _text(self, name: int) -> str:
        begin = self._strings + name
        return self._data[begin : self._data.index(b"\0", begin)].decode()

    def _resolved(self, number: int) -> int | None:
        """Return where a structure or union is; None for any other type."""
        for _ in range(_STEPS):
            if number >= len(self._places):
                self._walk((), number)
            place = self._places[number]
            kind = self._words[place + 1] >> 24 & 31
            if kind in {_STRUCT, _UNION}:
                return place
            if kind not in _PASSED:
                return None
            number = self._words[place + 2]
        raise ValueError("a type stands for itself")
