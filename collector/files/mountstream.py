"""The archive of a container's mounts as a stream that no mount can hold up.

::

    stream = MountStream()
    async for block in stream.blocks(tops): ...
    stream.losses[b"/data"]

Each mount is read in threads that are left behind where it does not answer: what of a file is
missing by then is zeros, and the next mount has its turn. File systems in memory and volumes have
budgets of their own: a large volume must not cost what is gone with the container.
"""

from __future__ import annotations

import tarfile
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field

from collector.documents import BoundedNames
from collector.files import pax
from collector.files.mountarchive import MAX_BYTES, MAX_ENTRIES, MountArchive, MountLoss, OpenMount
from collector.node.abandonable import run_abandonable
from collector.runtimes.runtime import Unavailable
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import SourceNotes

VOLUME_BYTES = 16 * 1024**3
"""Bytes of data of all volumes of a container."""
VOLUME_ENTRIES = 500_000
"""Members of them."""
STEP_TIMEOUT = 30.0
"""Seconds that a mount may take for the next quarter of a megabyte."""


@dataclass(slots=True)
class MountBudget:
    """What may still be stored."""

    room: int
    members: int
    limits: tuple[int, int] = field(init=False)
    """What both were at the beginning."""

    def __post_init__(self) -> None:
        """Remember the beginning."""
        self.limits = self.room, self.members


@dataclass
class MountStream:
    """The stream under way."""

    memory: MountBudget = field(default_factory=lambda: MountBudget(MAX_BYTES, MAX_ENTRIES))
    volumes: MountBudget = field(default_factory=lambda: MountBudget(VOLUME_BYTES, VOLUME_ENTRIES))
    seconds: float = STEP_TIMEOUT
    notes: SourceNotes = field(default_factory=SourceNotes)
    losses: dict[bytes, MountLoss] = field(default_factory=dict)
    """What is missing, by the path of the mount."""
    done: set[bytes] = field(default_factory=set)
    """Mounts that have been read to their end, or are given up."""
    changed: BoundedNames = field(default_factory=BoundedNames)
    """Files that changed while they were read."""
    sockets: int = 0
    """Sockets, which no archive can hold."""
    folders: Sequence[bytes] = ()
    """Directories of no mount, which lead to some."""

    async def blocks(self, tops: Iterable[OpenMount]) -> AsyncIterator[bytes]:
        """Yield the archive in blocks."""
        for folder in self.folders:
            yield pax.plain(b"." + folder, tarfile.DIRTYPE, mode=0o555)
        for top in tops:
            budget = self.volumes if top.volume else self.memory
            archive = MountArchive(budget.room, budget.members, budget.limits, losses=self.losses)
            archive.changed = self.changed
            async for block in self._read(archive, top):
                self._flag()
                yield block
            budget.room, budget.members = archive.room, archive.members
            self.sockets += archive.sockets
            self.done.add(top.path)
        yield pax.END

    async def _read(self, archive: MountArchive, top: OpenMount) -> AsyncIterator[bytes]:
        source = archive.blocks([top], end=b"")
        try:
            while (
                block := await run_abandonable(self.seconds, "a mount", next, source, None)
            ) is not None:
                yield block
        except Unavailable as hung:
            for block in archive.abandon(top.path, str(hung)):
                yield block

    def _flag(self) -> None:
        if self.changed.total:
            self.notes.flags.add(Flag.CHANGED_WHILE_READ)
        if any(loss.missing.total for loss in self.losses.values()):
            self.notes.flags.add(Flag.TRUNCATED)
