"""`proc.tar.zst`: a tree like /proc of the container's processes, and of those above them.

Other tools open it as the /proc of a machine: dissect.target, or anything pointed at the unpacked
folder. It goes with the processes, of which it has what `processes.json` was made of (method
`proc`), and beside it lies its index.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from collector.container import ContainerCapture
from collector.documents import BoundedNames
from collector.files import pax
from collector.files.indexing import indexed
from collector.node.abandonable import HangTimeouts
from collector.node.ancestry import Ancestry
from collector.node.proctop import top
from collector.node.proctree import ProcTree
from collector.runtimes.runtime import Unavailable
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.layout import PROC_INDEX, PROC_LOOKUP
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import SourceNotes
from forensics_core.storage.objects import Buffer

NAME = "proc.tar"
METHOD = "proc"
MAX_PROCESSES = 4096
"""Processes of a container in the archive: each is some 50 members. Its rows are of more."""
BATCH = 256 * 1024
"""Bytes that are collected before they are handed on."""


@dataclass
class _ProcArchive:
    """The archive under way."""

    capture: ContainerCapture
    tree: ProcTree
    timeouts: HangTimeouts
    notes: SourceNotes = field(default_factory=SourceNotes)
    hung: BoundedNames = field(default_factory=BoundedNames)
    left_out: int = 0
    """Processes that are too many."""
    late: bool = False
    """Whether there was no time for all."""
    _waiting: bytearray = field(default_factory=bytearray)

    async def blocks(self, family: Ancestry, pids: Sequence[int]) -> AsyncIterator[Buffer]:
        """Yield the archive in blocks."""
        sources: list[tuple[str, Iterator[bytes]]] = [("/proc", top(self.tree, family.first))]
        sources += [(f"/proc/{pid}", self.tree.ancestor(pid)) for pid in reversed([*family.above])]
        sources += [(f"/proc/{pid}", self.tree.process(pid)) for pid in pids[:MAX_PROCESSES]]
        self.left_out = len(pids[MAX_PROCESSES:])
        for name, source in sources:
            if self.capture.is_over:
                self.late = True
                break
            async for block in self._batches(name, source):
                yield block
        if (
            self.left_out
            or self.hung.total
            or self.late
            or self.tree.cut.total
            or self.tree.unasked.total
            or self.tree.crowded.total
        ):
            self.notes.flags.add(Flag.TRUNCATED)
        yield bytes(self._waiting) + pax.END

    async def _batches(self, name: str, source: Iterator[bytes]) -> AsyncIterator[bytes]:
        """Read in threads, each member whole: a thread that does not come back ends only this."""
        try:
            more = True
            while more:
                part, more = await self.timeouts.run(name, _some, source)
                self._waiting += part
                if len(self._waiting) >= BATCH:
                    yield bytes(self._waiting)
                    self._waiting.clear()
        except Unavailable:
            self.hung.add(name)

    def account(self) -> None:
        """Record what is not there."""
        record_gap, tree = self.capture.record_gap, self.tree
        if self.late:
            self.capture.record_time_gap(f"{NAME}, its rest")
        if self.hung.total:
            record_gap(f"{NAME}, processes", "Hung", f"/proc said nothing more of {self.hung}")
        if tree.unasked.total:
            message = f"They hung before, and were not asked for again: {tree.unasked}"
            record_gap(f"{NAME}, files", "Hung", message)
        if tree.refusing.total:
            files = "; ".join(f"{why}: {', '.join(names)}" for why, names in tree.refused.items())
            message = f"Of {tree.refusing} some files could not be read. {files}"
            record_gap(f"{NAME}, files", "Unreadable", message, requested=False)
        if tree.cut.total:
            message = f"Longer than what is kept of them: {tree.cut}"
            record_gap(f"{NAME}, rest of files", "TooLarge", message)
        if self.left_out:
            message = f"{self.left_out} processes are in processes.json only: they are too many"
            record_gap(f"{NAME}, processes beyond {MAX_PROCESSES}", "TooMany", message)
        if tree.crowded.total:
            message = f"Not all threads, or open files, are in: {tree.crowded}"
            record_gap(f"{NAME}, entries of folders", "TooMany", message)


def _some(source: Iterator[bytes]) -> tuple[bytes, bool]:
    """Return some whole members, and whether there may be more."""
    found = bytearray()
    for part in source:
        found += part
        if len(found) >= BATCH:
            return bytes(found), True
    return bytes(found), False


async def store(
    capture: ContainerCapture,
    tree: ProcTree,
    family: Ancestry,
    pids: Sequence[int],
    timeouts: HangTimeouts,
) -> None:
    """Store the archive of these processes and of those above them, and its index."""
    archive = _ProcArchive(capture, tree, timeouts)
    names = PROC_INDEX, PROC_LOOKUP
    async with indexed(capture, archive.notes, names=names, kind=ArtifactKind.PROCESSES) as index:
        await capture.add(
            NAME,
            ArtifactKind.PROCESSES,
            archive.blocks(family, pids),
            method=METHOD,
            media_type="application/x-tar",
            notes=archive.notes,
            compression=capture.compression,
            taps=[index],
            whole=True,
        )
    archive.account()
