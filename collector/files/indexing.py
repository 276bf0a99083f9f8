"""The index of a file system's archive, stored beside it while it passes.

::

    async with indexed(capture, notes) as index:
        await capture.add("rootfs.tar", ..., notes=notes, taps=[index])
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from collector.container import ContainerCapture
from forensics_core._internal.tasks import task_group
from forensics_core.api.order import ArtifactKind, Compression
from forensics_core.bundle.ends import LITTLE_INDEX, with_ends
from forensics_core.bundle.layout import MOUNTS, ROOTFS_INDEX, ROOTFS_LOOKUP, container_file
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import ArtifactSpec, SourceNotes
from forensics_core.storage.objects import Buffer
from forensics_core.tarindex.member import Member
from forensics_core.tarindex.rows import Chunk
from forensics_core.tarindex.stage import TarIndex

METHOD = "index"


@asynccontextmanager
async def indexed(
    capture: ContainerCapture,
    archive: SourceNotes,
    enrich: Callable[[Member], None] | None = None,
    names: tuple[str, str] = (ROOTFS_INDEX, ROOTFS_LOOKUP),
    kind: ArtifactKind = ArtifactKind.FILESYSTEM,
) -> AsyncIterator[TarIndex]:
    """Store what the index finds in the block, then the table that finds rows by path.

    Nothing of either is kept if the block fails. `archive` is flagged as truncated where it has no
    end. `enrich` adds to each member what no archive holds; `names` are those of index and table,
    which are artifacts of this `kind`.
    """
    outlet, inlet = anyio.create_memory_object_stream[Chunk](0)

    async def send(chunk: Chunk) -> None:
        # Who takes them has failed, or is cancelled: that ends the block, too, with the reason.
        with suppress(anyio.BrokenResourceError):
            await outlet.send(chunk)

    index = TarIndex(send, lambda: archive.flags.add(Flag.TRUNCATED), enrich)
    notes, lookup = SourceNotes(), list[bytes]()
    async with inlet, task_group() as tasks:
        label = _label(capture, names[0], kind)
        tasks.start_soon(_store_rows, capture, label, inlet, notes, lookup)
        async with outlet:
            yield index
            await index.close()
            if index.damage:
                notes.flags.add(Flag.TRUNCATED)
    if lookup:
        lookup[-1] = with_ends(lookup[-1], _ends(capture, names[0]))
    await capture.bundle.add(_label(capture, names[1], kind), _each(lookup))
    capture.added += 1
    if index.damage:
        message = f"{names[0]} ends after {index.rows} members: {index.damage}"
        capture.record_gap("rest of the index", "Unreadable", message, requested=False)


async def _store_rows(
    capture: ContainerCapture,
    label: ArtifactSpec,
    inlet: MemoryObjectReceiveStream[Chunk],
    notes: SourceNotes,
    lookup: list[bytes],
) -> None:
    async def frames() -> AsyncIterator[Buffer]:
        async for chunk in inlet:
            lookup.append(chunk.lookup)
            yield chunk.data

    # Closed by whoever takes the rows: the thread that hands them on waits for nobody else, and is
    # reached by no cancellation.
    async with inlet:
        await capture.bundle.add(label, frames(), notes, framed=True, little=LITTLE_INDEX)
    capture.added += 1


def _ends(capture: ContainerCapture, index: str) -> dict[str, bytes]:
    """Return what the writer kept of what a reader needs next: the index, its archive, and what
    is mounted in the file system."""
    wanted = [index, index.replace(".index.jsonl", ".tar")]
    wanted += [MOUNTS] if index == ROOTFS_INDEX else []
    kept = (
        (name, capture.bundle.ends.pop(container_file(capture.name, name), b"")) for name in wanted
    )
    return {name: end for name, end in kept if end}


def _label(capture: ContainerCapture, name: str, kind: ArtifactKind) -> ArtifactSpec:
    return ArtifactSpec(
        container_file(capture.name, name),
        kind,
        capture.name,
        "application/zstd",
        METHOD,
        Compression.ZSTD,
    )


async def _each(lines: Iterable[bytes]) -> AsyncIterator[Buffer]:
    for line in lines:
        yield line
