"""The newest entries of a journal of systemd, read without systemd's own programs.

A journal is being written while it is read. What does not fit together is left out; what is no
journal at all raises `DamagedJournal`. Fields that lz4 compressed are not read: the standard
library has no lz4. systemd uses zstd by default since its version 246.

Source: https://systemd.io/JOURNAL_FILE_FORMAT/
"""

from __future__ import annotations

import lzma
import os
import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache

import zstandard

from collector.documents import portable
from collector.node.abandonable import raise_if_abandoned
from collector.node.netlink_fields import NetlinkRow

MAX_ENTRIES = 20_000
"""Entries at the end of a journal that are looked at."""
MAX_FOUND = 1024 * 1024
"""Bytes of what is kept of them."""
MAX_FIELD = 16 * 1024
"""Bytes of one field; a longer one is cut."""
_SIGNATURE = b"LPKSHHRH"
_COMPACT = 1 << 4
_XZ, _LZ4, _ZSTD = 1, 2, 4
_DATA, _ENTRY, _ARRAY = 1, 3, 6
_OBJECT = struct.Struct("<BB6xQ")
_MAX_OBJECT = 16 * 1024 * 1024
_MAX_ARRAYS = 4096
_CACHED = 256
"""Fields that are held, since others may have them too."""
_LAST = 2**63 - 1 - _MAX_OBJECT
"""The last place that the kernel would read at."""
_KEPT = (
    *("MESSAGE", "PRIORITY", "_SYSTEMD_UNIT", "SYSLOG_IDENTIFIER", "_COMM", "_PID", "_HOSTNAME"),
    *("_BOOT_ID", "CONTAINER_ID_FULL", "CONTAINER_NAME"),
)


class DamagedJournal(ValueError):
    """What is no journal, or none that can be read."""


def find_entries(
    file: int,
    words: Sequence[bytes],
    last: int = MAX_ENTRIES,
    most: int = MAX_FOUND,
    transport: bytes = b"",
) -> NetlinkRow:
    """Return the newest entries that have one of these words in a field, or that came by a way.

    It looks at the `last`, and keeps so many bytes at `most`. The kernel's own lines have the
    `transport` `kernel`. `cut` says whether there are older ones; `unread` counts fields that
    could not be unpacked. Raises `DamagedJournal`.
    """
    journal = _SystemdJournal(file)
    found, looked, first, passed = list[NetlinkRow](), 0, None, 0
    for offset in journal.newest(last):
        raise_if_abandoned()
        passed += 1
        entry = journal.entry(offset)
        if entry is None:
            continue
        looked += 1
        first = entry["time"]
        values = entry.pop("values")
        came = transport and values.get(b"_TRANSPORT") == transport
        if came or any(word in value for value in values.values() for word in words):
            found.append(entry | _spelled(values))
            most -= sum(map(len, values.values()))
            if most < 0:
                break
    found.reverse()
    return {
        "entries": journal.entries,
        "looked": looked,
        "since": first,
        "cut": passed < journal.entries,
        "unread": journal.unread,
        "lines": found,
    }


def _spelled(values: dict[bytes, bytes]) -> NetlinkRow:
    named = {name: values.get(name.encode()) for name in _KEPT}
    return {name: portable(value) for name, value in named.items() if value is not None}


class _SystemdJournal:
    """One file, open for reading."""

    def __init__(self, file: int) -> None:
        self._file = file
        header = os.pread(file, 256, 0)
        if len(header) < 208 or header[:8] != _SIGNATURE:
            raise DamagedJournal("This is not a journal of systemd")
        incompatible = struct.unpack_from("<I", header, 12)[0]
        self._compact = bool(incompatible & _COMPACT)
        self.entries, self._arrays = (
            struct.unpack_from("<Q", header, 152)[0],
            struct.unpack_from("<Q", header, 176)[0],
        )
        self.unread = 0
        """Fields that could not be unpacked."""
        # Many entries share a field.
        self._field = lru_cache(_CACHED)(self._read_field)

    def newest(self, last: int) -> Iterator[int]:
        """Yield where the entries are, the newest first, `last` of them at most."""
        arrays = self._chain()
        left = self.entries - sum(count for _, count in arrays[:-1])
        for place, count in reversed(arrays):
            used = min(left, count) if left > 0 else count
            left = 0
            for offset in reversed(self._items(place, used)):
                if not last:
                    return
                last -= 1
                yield offset

    def _chain(self) -> list[tuple[int, int]]:
        """Return where the arrays of entries are, and how many each has room for."""
        arrays, place = list[tuple[int, int]](), self._arrays
        while place and len(arrays) < _MAX_ARRAYS:
            head = self._at(place, 24)
            if len(head) < 24 or head[0] != _ARRAY:
                break
            size, following = struct.unpack_from("<QQ", head, 8)
            arrays.append((place, max(size - 24, 0) // self._width))
            place = following
        return arrays

    @property
    def _width(self) -> int:
        return 4 if self._compact else 8

    def _items(self, place: int, count: int) -> list[int]:
        width = self._width
        data = self._at(place + 24, min(count * width, _MAX_OBJECT))
        whole = len(data) // width
        return [*struct.unpack_from(f"<{whole}{'I' if self._compact else 'Q'}", data)]

    def entry(self, place: int) -> NetlinkRow | None:
        """Return an entry with its fields; None for what is none."""
        content = self._object(place, _ENTRY)
        if content is None or len(content) < 64:
            return None
        number, moment = struct.unpack_from("<QQ", content, 16)
        step, form = (4, "<I") if self._compact else (16, "<Q")
        values: dict[bytes, bytes] = {}
        for start in range(64, len(content) - step + 1, step):
            pair = self._field(struct.unpack_from(form, content, start)[0])
            if pair:
                # Whoever sends an entry may give a field more than once.
                name, value = pair
                values[name] = values[name] + b"\n" + value if name in values else value
        try:
            time = datetime.fromtimestamp(moment / 1e6, UTC).isoformat()
        except (OverflowError, ValueError, OSError):
            return None
        return {"sequence": number, "time": time, "values": values}

    def _read_field(self, place: int) -> tuple[bytes, bytes] | None:
        """Return name and value of a field."""
        content = self._object(place, _DATA)
        start = 72 if self._compact else 64
        if content is None or len(content) < start:
            return None
        plain = _unpacked(content[start:], content[1])
        self.unread += not plain
        name, _, value = plain.partition(b"=")
        return (name, value) if name else None

    def _object(self, place: int, kind: int) -> bytes | None:
        head = self._at(place, _OBJECT.size)
        if len(head) < _OBJECT.size:
            return None
        found, _, size = _OBJECT.unpack(head)
        if found != kind or size > _MAX_OBJECT:
            return None
        return self._at(place, size)

    def _at(self, place: int, size: int) -> bytes:
        """Return what is at a place, be it none."""
        return os.pread(self._file, size, place) if place <= _LAST else b""


def _unpacked(data: bytes, flags: int) -> bytes:
    """Return a field as it was before it was compressed; nothing where that cannot be told."""
    try:
        if flags & _ZSTD:
            return zstandard.ZstdDecompressor().stream_reader(data).read(MAX_FIELD)
        if flags & _XZ:
            return lzma.LZMADecompressor().decompress(data, MAX_FIELD)
    except (zstandard.ZstdError, lzma.LZMAError):
        return b""
    return b"" if flags & _LZ4 else data[:MAX_FIELD]
