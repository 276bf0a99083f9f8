"""`rootfs.tar.zst`: the container's whole file system, as a pax archive, and beside it its index.

It is read from the node with GNU tar (method `tree`). Where that cannot be, the runtime's own
export takes its place (method `engine-export`), flagged as reduced.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from anyio import to_thread

from collector.container import ContainerCapture
from collector.documents import readable
from collector.files.details import detailed
from collector.files.gnu_tar import TREE_LIMITS, TreeLimits, read_tree
from collector.files.indexing import indexed
from collector.files.mounted import processes_with_other_root
from collector.files.resuming import TarLoss
from collector.files.sockets import socket_members
from collector.files.tar_stderr import TarStderr
from collector.node.abandonable import run_abandonable
from collector.node.members import find_members
from collector.recording.writes import noting_writes
from collector.runtimes.runtime import Unavailable
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.layout import UPPER_INDEX, UPPER_LOOKUP
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import SourceNotes, shortened
from forensics_core.errors import SourceError
from forensics_core.storage.objects import Buffer
from forensics_core.tarindex.stage import TarIndex

NAME = "rootfs.tar"
_MAX_PATH_SHOWN = 200
"""Letters of a path that a message has; the gap's own field has more."""
UPPER = "upper.tar"
TIMEOUT = 30.0
"""Seconds that comparing the processes' roots may take."""
_LOST = "It loses sockets, user extended attributes, fractions of seconds and holes in sparse files"


async def collect(capture: ContainerCapture, limits: TreeLimits = TREE_LIMITS) -> None:
    """Store the merged file system, without volumes and other mounts."""
    try:
        await _from_the_node(capture, limits)
    except Unavailable as why:
        try:
            await _from_the_runtime(capture, why)
        except Unavailable as neither:
            raise Unavailable(f"{why} {neither}", reason=why.reason) from neither
    await _look_back(capture)


@dataclass(slots=True)
class _KeptArchive:
    """An archive of which all that was read is kept, also where its source breaks off."""

    source: AsyncIterator[Buffer]
    failure: str = ""
    """Why it broke off."""

    async def blocks(self) -> AsyncIterator[Buffer]:
        """Yield what there is. Raises `SourceError` where that is nothing."""
        begun = False
        try:
            async for block in self.source:
                begun = True
                yield block
        except SourceError as error:
            if not begun:
                raise
            self.failure = str(error)


async def _from_the_node(capture: ContainerCapture, limits: TreeLimits) -> None:
    async with (
        capture.root() as root,
        read_tree(root, limits) as reading,
        detailed(root) as details,
        indexed(capture, reading.tar_stderr.notes, details.add) as index,
    ):
        doubt = getattr(root, "doubt", "")
        if doubt:
            reading.tar_stderr.notes.flags.add(Flag.REDUCED_FIDELITY)
        await _compare_roots(capture, root)
        kept = _KeptArchive(reading.blocks)
        blocks = noting_writes(capture, reading.tar_stderr.notes, kept.blocks())
        # tar's blocks are nearly of one size, and to make them equal would copy all of them.
        await _store(capture, blocks, "tree", reading.tar_stderr.notes, index, framed=True)
        listed = await to_thread.run_sync(_list_sockets, index, root, reading.sockets)
    if kept.failure:
        capture.record_gap(f"{NAME}, its rest", "SourceFailed", kept.failure)
    if doubt:
        capture.record_gap("root of the file system", "NotCertain", doubt, requested=False)
    _account(capture, reading.tar_stderr, listed)
    for loss in reading.losses:
        _account_loss(capture, loss)
    if details.missed or details.changed:
        message = (
            f"Inode, birth time and attributes in the index: {details.missed} members were gone "
            f"before these could be asked for, {details.changed} had been changed"
        )
        capture.record_gap("details of files", "ChangedWhileRead", message, requested=False)


async def _compare_roots(capture: ContainerCapture, root: int) -> None:
    """Record which processes see another file system as theirs than the one that is archived."""
    if capture.container.pid is None:
        return
    with suppress(Unavailable, OSError):
        first = await capture.runtime.process(capture.container)
        others = await run_abandonable(
            TIMEOUT, "roots", _with_other_root, first, capture.container.key, root
        )
        if others:
            shown = ", ".join(map(str, others[:20])) + (", ..." if len(others) > 20 else "")
            message = (
                f"{len(others)} processes have something else mounted as their root, which is not "
                f"in {NAME}: {shown}. They, or who made them, replaced it"
            )
            capture.record_gap(
                "root of processes", "Replaced", message, requested=False, pid=others[0]
            )


def _with_other_root(first: int, key: str, root: int) -> list[int]:
    return processes_with_other_root(find_members(first, key), key, root)


async def _store(
    capture: ContainerCapture,
    blocks: AsyncIterable[Buffer],
    method: str,
    notes: SourceNotes,
    index: TarIndex,
    *,
    framed: bool = False,
) -> bool:
    """Store the archive, in blocks as they come if `framed`; return whether there was time."""
    return await capture.add(
        NAME,
        ArtifactKind.FILESYSTEM,
        blocks,
        method=method,
        media_type="application/x-tar",
        notes=notes,
        compression=capture.compression,
        taps=[index],
        framed=framed,
    )


def _list_sockets(index: TarIndex, root: int, names: Iterable[bytes]) -> int:
    """Add rows for sockets to the index; return how many."""
    rows = 0
    for member in socket_members(root, names):
        index.add(member)
        rows += 1
    return rows


def _account(capture: ContainerCapture, tar_stderr: TarStderr, listed: int) -> None:
    """Record which members the archive lacks."""
    if tar_stderr.sockets.total:
        message = f"A tar archive cannot hold sockets, its index names them: {tar_stderr.sockets}"
        if unlisted := tar_stderr.sockets.total - listed:
            message += f". {unlisted} of them have no row there"
        capture.record_gap("sockets", "NotSupported", message, requested=False)
    for what, message in _unreadable(tar_stderr):
        capture.record_gap(what, "Unreadable", message)


def _account_loss(capture: ContainerCapture, loss: TarLoss) -> None:
    """Record what tar died in."""
    path = shortened(readable(loss.path))
    brief = path if len(path) <= _MAX_PATH_SHOWN else path[:_MAX_PATH_SHOWN] + "…"
    if loss.cut:
        what = f"{NAME}, a file"
        message = f"The data of {brief} ends in zeros from where tar died: {loss.why}"
    else:
        what = f"{NAME}, a subtree"
        message = f"Not all that is beneath {brief} may be there, tar died in it: {loss.why}"
    capture.record_gap(what, "SourceFailed", message, path=path)


def _unreadable(tar_stderr: TarStderr) -> Iterator[tuple[str, str]]:
    if tar_stderr.unreadable.total:
        yield "files of the file system", f"Missing or cut in {NAME}: {tar_stderr.unreadable}"
    if tar_stderr.bare.total:
        yield "attributes of files", f"Stored without all of them: {tar_stderr.bare}"
    if tar_stderr.unheard:
        message = (
            f"GNU tar said something about {tar_stderr.unheard} members whose names are too long "
            f"to be looked at. They may be missing in {NAME}, or in its index"
        )
        yield "files with very long names", message


async def _from_the_runtime(capture: ContainerCapture, why: Unavailable) -> None:
    notes = SourceNotes(flags={Flag.REDUCED_FIDELITY})
    async with (
        capture.runtime.export(capture.container) as blocks,
        indexed(capture, notes) as index,
    ):
        in_time = await _store(capture, blocks, "engine-export", notes, index)
    if in_time and index.flaw:
        message = f"The runtime's export broke off: {index.flaw}"
        capture.record_gap("files of the file system", "Truncated", message)
    message = f"Read through the runtime's own export. {_LOST}. Not read from the node: {why}"
    capture.record_gap("details of the file system", why.reason, message, requested=False)


async def _look_back(capture: ContainerCapture) -> None:
    """Find out whether the container was removed while its files were being read.

    What it wrote is stored once more then, from before.
    """
    if not await capture.is_removed():
        return
    message = (
        "The container was removed during the capture: files not read by then are missing in "
        f"{NAME}, or are there as the image has them"
    )
    if (held := capture.held.upper) is not None:
        notes = SourceNotes()
        async with indexed(capture, notes, names=(UPPER_INDEX, UPPER_LOOKUP)) as index:
            await capture.add(
                UPPER,
                ArtifactKind.FILESYSTEM,
                held.archive(),
                method="upper",
                media_type="application/x-tar",
                notes=notes,
                compression=capture.compression,
                taps=[index],
            )
            for member in held.socket_members():
                index.add(member)
        if held.sockets.total:
            told = f"{UPPER} cannot hold sockets, its index names them: {held.sockets}"
            capture.record_gap(f"sockets of {UPPER}", "NotSupported", told, requested=False)
        message += f". {UPPER} has what the container wrote until the capture began"
        if held.unread.total:
            message += f". Of these it has zeros, which could not be read: {held.unread}"
        for names, what in ((held.unheld, "could not be opened"), (held.bare, "lack attributes")):
            message += f". Some {what}: {names}" if names.total else ""
        message += "" if held.complete else f", the first {len(held.places)} files of it"
    capture.record_gap("files of the file system", "Gone", message)
