"""Which files a container's processes have mapped, with the SHA-256 of each: a core leaves out what
is as in its file, and this says which file that was.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from collector.documents import portable
from collector.files.hashing import HashingBudget
from collector.files.safe_open import opened
from collector.memory.mappings import Mapping, MappingKind
from collector.node.abandonable import raise_if_abandoned
from collector.node.procfs import Process
from collector.node.silent import is_silent

MAX_FILES = 10_000
"""Files of one container that are listed; the rest are counted."""
MAX_TOTAL = 4 * 1024**3
"""Bytes of them that are hashed."""
SECONDS = 60.0
"""For which they are."""

MappedFileIdentity = tuple[int | bytes, ...]
"""Device, inode, size, and when it was changed; where it cannot be opened, what the map tells."""


@dataclass(slots=True)
class MappedFiles:
    """The files of one container, each once."""

    rows: list[dict[str, object]] = field(default_factory=list)
    unhashed: int = 0
    """Files whose digest could not be had, or would have cost too much."""
    more: int = 0
    """Times that a process has one mapped past `MAX_FILES`."""
    _known: dict[MappedFileIdentity, int] = field(default_factory=dict)
    _asked: set[bytes] = field(default_factory=set)
    """File systems that have not answered yet."""
    _hashing: HashingBudget = field(
        default_factory=lambda: HashingBudget(max_total=MAX_TOTAL, until=time.monotonic() + SECONDS)
    )

    def look(self, process: Process, mappings: Iterable[Mapping]) -> list[int]:
        """Return which rows are of the files that these mappings of a process are of."""
        found: dict[tuple[bytes, int, bytes], int] = {}
        for mapping in mappings:
            raise_if_abandoned()
            key = mapping.device, mapping.inode, mapping.path
            if mapping.sort in {MappingKind.MODIFIED, MappingKind.SHARED} and key not in found:
                row = self._row(process, mapping)
                if row is not None:
                    found[key] = row
        return sorted({*found.values()})

    def _row(self, process: Process, mapping: Mapping) -> int | None:
        if mapping.device not in self._asked and not is_silent(process, mapping.device):
            # Where it never answers this thread is left behind, and the next one passes it over.
            self._asked.add(mapping.device)
            try:
                return self._looked(process, mapping)
            finally:
                self._asked.discard(mapping.device)
        told = mapping.device, mapping.inode, mapping.path
        return self._add(told, {"path": portable(mapping.path)}, None)

    def _looked(self, process: Process, mapping: Mapping) -> int | None:
        with suppress(OSError):
            flags = os.O_PATH | os.O_CLOEXEC
            with opened(os.open(mapping.place, flags, dir_fd=process.folder)) as place:
                return self._of(place, os.fstat(place), mapping)
        told = mapping.device, mapping.inode, mapping.path
        return self._add(told, {"path": portable(mapping.path)}, None)

    def _of(self, place: int, status: os.stat_result, mapping: Mapping) -> int | None:
        identity = status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns
        if identity in self._known:
            return self._known[identity]
        row: dict[str, object] = {
            "path": portable(mapping.path),
            "device": status.st_dev,
            "inode": status.st_ino,
            "size": status.st_size,
        }
        digest = self._digest(place, status) if len(self.rows) < MAX_FILES else None
        return self._add(identity, row, digest)

    def _add(
        self, identity: MappedFileIdentity, row: dict[str, object], digest: str | None
    ) -> int | None:
        if identity in self._known:
            return self._known[identity]
        if len(self.rows) >= MAX_FILES:
            self.more += 1
            return None
        self.unhashed += digest is None
        self._known[identity] = len(self.rows)
        self.rows.append({**row, "sha256": digest})
        return self._known[identity]

    def _digest(self, place: int, status: os.stat_result) -> str | None:
        if not stat.S_ISREG(status.st_mode):
            return None
        steps = self._hashing.digest(place, status.st_size)
        while True:
            raise_if_abandoned()
            try:
                next(steps)
            except StopIteration as end:
                return end.value if isinstance(end.value, str) else None
