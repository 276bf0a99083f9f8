"""The index of one archive, read back a chunk at a time.

A chunk or a row that is not as it should be is passed over: see `Layer.flaws`.
"""

from __future__ import annotations

import base64
import hashlib
from array import array
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import NamedTuple

from anyio import to_thread
from anyio.abc import TaskGroup

from forensics_core._internal import strict_json
from forensics_core._internal.flaws import Flaws
from forensics_core.bundle.documents import read_stored, unpacked
from forensics_core.bundle.layout import (
    DELETED_ARCHIVES,
    DELETED_FOLDER,
    DELETED_INDEX,
    DELETED_LOOKUP,
    MOUNTS_ARCHIVES,
    MOUNTS_INDEX,
    MOUNTS_LOOKUP,
    PROC_ARCHIVES,
    PROC_INDEX,
    PROC_LOOKUP,
    ROOTFS_ARCHIVES,
    ROOTFS_INDEX,
    ROOTFS_LOOKUP,
    UPPER_ARCHIVES,
    UPPER_INDEX,
    UPPER_LOOKUP,
    container_file,
)
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import VerificationError
from forensics_core.tarindex.archive import Archive, open_archive
from forensics_core.tarindex.lookup import PathFilter
from forensics_core.tarindex.row import Row, read_rows

LOOKUP_LIMIT = 64 * 1024 * 1024
"""Bytes that a lookup table may have: that of thirty million members."""


@dataclass(frozen=True, slots=True)
class ChunkEntry:
    """What the lookup table says of one chunk of rows."""

    sha256: str
    paths: PathFilter


class Layer:
    """The index of one archive."""

    def __init__(
        self,
        rows: Archive,
        chunks: Sequence[ChunkEntry | None],
        archives: tuple[str, ...],
        gap: str,
        flaws: Flaws,
        folder: bytes = b"",
    ) -> None:
        self._rows = rows
        self._chunks = chunks
        self._archives = archives
        self.folder = folder
        """Where its root is in sight; empty for the container's own root."""
        self._flawed: set[int] = {at for at, chunk in enumerate(chunks) if chunk is None}
        self.gap = gap
        self.flaws = flaws
        """What was passed over so far, each place once."""

    async def find(self, path: bytes) -> Row | None:
        """Return the row of an absolute path, None if there is none.

        Raises `VerificationError` where it may be among what cannot be read.
        """
        inner = self._inside(path)
        numbers = self._numbers(lambda paths: paths.may_hold(inner))
        for number in numbers:
            async with aclosing(self._read(number)) as batches:
                async for rows in batches:
                    for row in rows:
                        if row.path == path:
                            return row
        self.check(numbers)
        return None

    async def entries(self, directory: bytes) -> tuple[list[Row], Sequence[int]]:
        """Return the rows of what lies directly in a directory, and where these were looked for."""
        inner = self._inside(directory)
        numbers = self._numbers(lambda paths: paths.may_list(inner))
        found = list[Row]()
        for number in numbers:
            async with aclosing(self._read(number)) as batches:
                async for rows in batches:
                    found += [
                        row
                        for row in rows
                        if row.directory == directory and row.path not in {b"/", self.folder}
                    ]
        return found, numbers

    async def batches(self) -> AsyncGenerator[Sequence[Row], None]:
        """Yield every row there is, in the archive's order, some at a time."""
        for number in range(len(self._chunks)):
            async with aclosing(self._read(number)) as batches:
                async for rows in batches:
                    yield rows

    def _inside(self, path: bytes) -> bytes:
        """Return what a path is called in the archive."""
        return path[len(self.folder) :] or b"/"

    def _numbers(self, wanted: Callable[[PathFilter], bool]) -> Sequence[int]:
        """Return the chunks to look into; one that the table does not describe may hold all."""
        chunks = enumerate(self._chunks)
        return [number for number, chunk in chunks if chunk is None or wanted(chunk.paths)]

    def check(self, numbers: Sequence[int] | None = None) -> None:
        """Raise `VerificationError` if something in these chunks, or in any, was passed over."""
        if numbers is None or not self._flawed.isdisjoint(numbers):
            self.flaws.check()

    async def _read(self, number: int) -> AsyncGenerator[list[Row], None]:
        """Yield the rows of a chunk."""
        chunk = self._chunks[number]
        if chunk is None:
            return
        # Whoever looks twice into a chunk is not told twice what is wrong with it.
        known = number in self._flawed
        flaws = Flaws("", "") if known else self.flaws
        before = flaws.total
        try:
            with flaws.passing():
                data = await self._rows.read_frame(number)
                await to_thread.run_sync(_verify, data, chunk, self._rows.name)
                batches = read_rows(data, flaws, self._archives)
                while (batch := await to_thread.run_sync(next, batches, None)) is not None:
                    yield [self._shown(row) for row in batch] if self.folder else batch
        finally:
            if flaws.total > before:
                self._flawed.add(number)

    def _shown(self, row: Row) -> Row:
        return replace(row, path=self.folder + row.path.rstrip(b"/"))


class ArchiveNames(NamedTuple):
    """What an archive and its index are called, in a container's folder."""

    archives: tuple[str, ...]
    rows: str
    lookup: str
    folder: bytes = b""
    """Where its root is in sight."""


ROOTFS = ArchiveNames(ROOTFS_ARCHIVES, ROOTFS_INDEX, ROOTFS_LOOKUP)
MOUNTS = ArchiveNames(MOUNTS_ARCHIVES, MOUNTS_INDEX, MOUNTS_LOOKUP)
PROC = ArchiveNames(PROC_ARCHIVES, PROC_INDEX, PROC_LOOKUP)
DELETED = ArchiveNames(DELETED_ARCHIVES, DELETED_INDEX, DELETED_LOOKUP, DELETED_FOLDER)
UPPER = ArchiveNames(UPPER_ARCHIVES, UPPER_INDEX, UPPER_LOOKUP)


async def open_layer(bundle: BundleReader, container: str, names: ArchiveNames) -> Layer | None:
    """Open the index of one archive; None where there is none."""
    name, table = (container_file(container, each) for each in (names.rows, names.lookup))
    if not {name, table} <= bundle.objects.keys():
        return None
    rows = await open_archive(bundle, bundle.objects[name])
    sizes = array("I", (frame.original for frame in rows.frames or () if frame.original))
    flaws = Flaws(f"The index {name}", "holds a row that is not valid")
    chunks = await _read_lookup(bundle, table, sizes, flaws)
    gap = _gap(bundle, container, (*names.archives, names.rows))
    return Layer(rows, chunks, names.archives, gap, flaws, names.folder)


def open_layers(
    tasks: TaskGroup,
    bundle: BundleReader,
    container: str,
    wanted: Sequence[ArchiveNames],
    flaws: Flaws,
) -> Mapping[ArchiveNames, Layer | None]:
    """Open several in `tasks`; what cannot be opened goes to `flaws`, and is not among them."""
    found: dict[ArchiveNames, Layer | None] = {}

    async def open_one(names: ArchiveNames) -> None:
        with flaws.passing():
            found[names] = await open_layer(bundle, container, names)

    for names in wanted:
        tasks.start_soon(open_one, names)
    return found


def _gap(bundle: BundleReader, container: str, files: tuple[str, ...]) -> str:
    artifacts = bundle.statement.predicate.artifacts
    names = {container_file(container, name) for name in files}
    cut = any(each.name in names and Flag.TRUNCATED in each.flags for each in artifacts)
    return "the archive was cut, or damaged, before its end" if cut else ""


def _verify(data: bytes, chunk: ChunkEntry, name: str) -> None:
    if hashlib.sha256(data).hexdigest() != chunk.sha256:
        raise VerificationError(f"a part of {name} is not what its lookup table says")


async def _read_lookup(
    bundle: BundleReader, table: str, sizes: Sequence[int], flaws: Flaws
) -> list[ChunkEntry | None]:
    """Return what the table says of each frame of the index; None where it says nothing legible.

    `sizes` are those of the frames.
    """
    expected = bundle.objects[table]
    chunks = list[ChunkEntry | None]()
    with flaws.passing():
        stored = await read_stored(bundle, expected, LOOKUP_LIMIT)
        await to_thread.run_sync(_parse, unpacked(stored, expected), chunks, sizes, flaws)
    if len(chunks) < len(sizes):
        flaws.add(f"{table} does not fit its index")
    return [*chunks, *([None] * (len(sizes) - len(chunks)))]


def _parse(
    pieces: Iterator[bytes], chunks: list[ChunkEntry | None], sizes: Sequence[int], flaws: Flaws
) -> None:
    """Parse a line for each size. All of the table is read, which verifies it."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        room = len(sizes) - len(chunks)
        if len(lines) > room:
            flaws.add("its lookup table does not fit")
        for line in lines[:room]:
            chunk = None
            with flaws.passing():
                chunk = _chunk(line, sizes[len(chunks)])
            chunks.append(chunk)


def _chunk(line: bytes, size: int) -> ChunkEntry:
    try:
        said = strict_json.loads_row(line)
        bits = base64.b64decode(said["filter"], validate=True)
        chunk, promised = ChunkEntry(str(said["sha256"]), PathFilter(bits)), int(said["size"])
    except (ValueError, TypeError, LookupError) as error:
        raise ValueError(f"a line is not a lookup table: {error}") from error
    if promised != size:
        raise ValueError("its lookup table does not fit")
    return chunk
