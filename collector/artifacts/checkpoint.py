"""`memory/checkpoint.tar`: what CRIU wrote on the node when the operator asked the kubelet.

The archive is stored as it is, so that `checkpointctl` reads it; then it is removed from the node,
where it would fill the disk, and keep the container's secrets.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial

from anyio import to_thread

from collector.container import ContainerCapture
from collector.files.safe_open import PLACE, open_data, opened
from collector.node.abandonable import run_abandonable
from collector.node.host import Host
from collector.runtimes.runtime import Unavailable
from forensics_core.api.order import ArtifactKind, KubeletCheckpoint
from forensics_core.bundle.writer import SourceNotes
from forensics_core.storage.blocks import BlockPool
from forensics_core.storage.objects import Buffer
from forensics_core.tarindex.headers import NotTar
from forensics_core.tarindex.member import Member
from forensics_core.tarindex.walk import TarWalk

NAME = "memory/checkpoint.tar"
WHAT = "memory by the kubelet's checkpoint"
"""What a gap calls it."""
TIMEOUT = 30.0
"""Seconds that opening the archive, or reading a block of it, may take."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEEDED = frozenset({"config.dump", "spec.dump", "checkpoint"})
"""What `checkpointctl` opens of an archive: two files, and the directory of CRIU's images."""


@dataclass(slots=True)
class _CheckpointArchive:
    """An archive on the node, open."""

    place: int
    """Its directory."""
    name: str
    file: int
    missing: set[str] = field(default_factory=lambda: set(_NEEDED))
    """What `checkpointctl` needs and has not passed yet."""
    flaw: str = ""

    @classmethod
    def open(cls, host: Host, path: str) -> _CheckpointArchive:
        folder, _, name = path.rpartition("/")
        place = host.open(folder, _FOLDER)
        try:
            with opened(os.open(name, PLACE, dir_fd=place)) as member:
                return cls(place, name, open_data(member))
        except OSError:
            os.close(place)
            raise

    def close(self) -> None:
        os.close(self.file)
        os.close(self.place)

    async def blocks(self) -> AsyncIterator[Buffer]:
        """Yield its bytes, noting what is in it."""
        pool, walk = BlockPool(), TarWalk(self._found)
        while True:
            block = pool.take()
            read = partial(os.readv, self.file, [block])
            size = await run_abandonable(TIMEOUT, "the kubelet's archive", read)
            if not size:
                return
            self._feed(walk, block[:size])
            yield block[:size].toreadonly()

    def _feed(self, walk: TarWalk, block: Buffer) -> None:
        if not self.flaw:
            try:
                walk.feed(block)
            except (NotTar, ValueError) as error:
                self.flaw = str(error)

    def _found(self, member: Member) -> None:
        self.missing.discard(os.fsdecode(member.path).lstrip("./").partition("/")[0])

    def remove(self) -> None:
        """Remove it from the node, if it is still what was read. Raises `OSError`."""
        there = os.stat(self.name, dir_fd=self.place, follow_symlinks=False)
        if not os.path.samestat(there, os.fstat(self.file)):
            raise FileNotFoundError("another file has its name by now")
        os.unlink(self.name, dir_fd=self.place)


async def collect(capture: ContainerCapture) -> None:
    """Store the archive that the kubelet made, or record why there is none."""
    told, capture.kubelet_checkpoint = capture.kubelet_checkpoint, None
    if told is None:
        _not_asked(capture)
    elif not told.archive:
        capture.record_gap(WHAT, told.reason or "Failed", told.message, requested=False)
    else:
        await _collect(capture, told)


async def _collect(capture: ContainerCapture, told: KubeletCheckpoint) -> None:
    host = capture.runtime.machine
    if host is None:
        capture.record_gap(WHAT, "Remote", "It is on the runtime's machine", requested=False)
        return
    try:
        archive = await run_abandonable(
            TIMEOUT, "the kubelet's archive", _CheckpointArchive.open, host, told.archive
        )
    except (OSError, Unavailable) as error:
        message = f"The kubelet wrote {told.archive}, which cannot be read: {error}"
        capture.record_gap(WHAT, "Unreadable", message, requested=False)
        return
    try:
        whole = await _store(capture, archive)
        await _clear(capture, archive, told.archive, whole=whole)
    finally:
        archive.close()


async def _store(capture: ContainerCapture, archive: _CheckpointArchive) -> bool:
    notes = SourceNotes()
    whole = await capture.add(
        NAME,
        ArtifactKind.MEMORY,
        archive.blocks(),
        method="criu",
        media_type="application/x-tar",
        notes=notes,
        compression=capture.compression,
    )
    if whole and (archive.flaw or archive.missing):
        why = archive.flaw or f"it lacks {', '.join(sorted(archive.missing))}"
        message = f"{NAME} is stored as the kubelet wrote it; checkpointctl cannot read it: {why}"
        capture.record_gap(WHAT, "Damaged", message, requested=False)
    return whole


async def _clear(
    capture: ContainerCapture, archive: _CheckpointArchive, path: str, *, whole: bool
) -> None:
    """Remove from the node what is stored, and say so where it stays."""
    why = "It is not stored whole"
    if whole:
        try:
            await to_thread.run_sync(archive.remove)
            return
        except OSError as error:
            why = f"It could not be removed: {error}"
    record_left(capture, path, why)


def record_left(capture: ContainerCapture, path: str, why: str) -> None:
    """Record that an archive stays on the node, and why."""
    message = f"{why}. The container's memory is in {path} on the node: remove it"
    capture.record_gap("the kubelet's archive, left on the node", "Left", message, requested=False)


def _not_asked(capture: ContainerCapture) -> None:
    if capture.runtime.scheme == "docker":
        return
    message = (
        "The kubelet was not asked for a checkpoint by CRIU: an operator does that which has "
        "kubeletCheckpoint set, and the overlay kubelet-checkpoint. The cores are here instead; "
        "only that archive has what is in pipes and sockets"
    )
    capture.record_gap(WHAT, "NotSupported", message, requested=False)
