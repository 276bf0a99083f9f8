"""The index of one archive, read back a chunk at a time.

A chunk or a row that is not as it should be is passed over: see `Layer.flaws`.
"""

from __future__ import annotations

import base64
import hashlib
from array import array
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

import anyio
from anyio import to_thread

from forensics_core._internal import strict_json
from forensics_core._internal.flaws import Flaws
from forensics_core.bundle.documents import read_stored, unpacked
from forensics_core.bundle.ends import ends_in
from forensics_core.bundle.expected import ExpectedObject
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
from forensics_core.tarindex.archive import NOTHING, Archive, Near, open_archive
from forensics_core.tarindex.lookup import PathFilter
from forensics_core.tarindex.row import Row, read_rows

NEAR_FOR_ONE, NEAR_FOR_ALL = 512 * 1024, 4 * 1024 * 1024
"""Bytes of an index, as stored, that are fetched by one request where one row is looked for in
several chunks, which may be in the first, and where all of these are needed."""
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
        bundle: BundleReader,
        container: str,
        names: ArchiveNames,
        failures: Flaws | None = None,
    ) -> None:
        """Of `failures` see `layer_of`."""
        self._bundle = bundle
        self._rows_name, self._table_name = (
            container_file(container, each) for each in (names.rows, names.lookup)
        )
        self._archives = names.archives
        self.folder = names.folder
        """Where its root is in sight; empty for the container's own root."""
        self.gap = _gap(bundle, container, (*names.archives, names.rows))
        self.flaws = Flaws(f"The index {self._rows_name}", "holds a row that is not valid")
        """What was passed over so far, each place once."""
        self._failures, self._failed = failures, False
        self._opening = anyio.Lock()
        self._rows: Archive | None = None
        self._chunks: Sequence[ChunkEntry | None] = ()
        self._flawed = set[int]()

    async def open(self) -> None:
        """Read where its rows are, unless that is known; what else reads does it by itself.

        Raises `VerificationError`, and what reading a bundle raises; of a layer with `failures` the
        former is told to these, and it has no rows then.
        """
        async with self._opening:
            if self._rows is not None or self._failed:
                return
            if self._failures is None:
                await self._open()
                return
            self._failed = True
            with self._failures.passing():
                await self._open()
                self._failed = False

    async def _open(self) -> None:
        bundle, table = self._bundle, self._bundle.objects[self._table_name]
        stored = list[bytes]()
        with self.flaws.passing():
            stored.append(await read_stored(bundle, table, LOOKUP_LIMIT))
        for data in stored:
            # First: it may have copies of what is needed next.
            bundle.ends.update(await to_thread.run_sync(_ends, data, table, bundle.objects))
        end = bundle.ends.get(self._rows_name, b"")
        rows = await open_archive(bundle, bundle.objects[self._rows_name], end)
        sizes = array("I", (frame.original for frame in rows.frames or () if frame.original))
        chunks = list[ChunkEntry | None]()
        with self.flaws.passing():
            for data in stored:
                pieces = unpacked(data, table)
                await to_thread.run_sync(_parse, pieces, chunks, sizes, self.flaws)
        if len(chunks) < len(sizes):
            self.flaws.add(f"{self._table_name} does not fit its index")
        self._chunks = [*chunks, *([None] * (len(sizes) - len(chunks)))]
        self._flawed = {at for at, chunk in enumerate(self._chunks) if chunk is None}
        self._rows = rows

    async def find(self, path: bytes) -> Row | None:
        """Return the row of an absolute path, None if there is none.

        Raises `VerificationError` where it may be among what cannot be read.
        """
        await self.open()
        inner = self._inside(path)
        numbers = self._numbers(lambda paths: paths.may_hold(inner))
        near = await self._together(numbers, NEAR_FOR_ONE)
        for number in numbers:
            async with aclosing(self._read(number, near)) as batches:
                async for rows in batches:
                    for row in rows:
                        if row.path == path:
                            return row
        self.check(numbers)
        return None

    async def entries(self, directory: bytes) -> tuple[list[Row], Sequence[int]]:
        """Return the rows of what lies directly in a directory, and where these were looked for."""
        await self.open()
        inner = self._inside(directory)
        numbers = self._numbers(lambda paths: paths.may_list(inner))
        found = list[Row]()
        near = await self._together(numbers, NEAR_FOR_ALL)
        for number in numbers:
            async with aclosing(self._read(number, near)) as batches:
                async for rows in batches:
                    found += [
                        row
                        for row in rows
                        if row.directory == directory and row.path not in {b"/", self.folder}
                    ]
        return found, numbers

    async def batches(self) -> AsyncGenerator[Sequence[Row], None]:
        """Yield every row there is, in the archive's order, some at a time."""
        await self.open()
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

    async def _together(self, numbers: Sequence[int], most: int) -> Near:
        """Fetch chunks in one request, where they lie near each other."""
        found = NOTHING
        if self._rows is not None:
            with suppress(VerificationError):  # it is told where each of them is read
                found = await self._rows.together(numbers, most)
        return found

    async def _read(self, number: int, near: Near = NOTHING) -> AsyncGenerator[list[Row], None]:
        """Yield the rows of a chunk."""
        chunk, archive = self._chunks[number], self._rows
        if chunk is None or archive is None:
            return
        # Whoever looks twice into a chunk is not told twice what is wrong with it.
        known = number in self._flawed
        flaws = Flaws("", "") if known else self.flaws
        before = flaws.total
        try:
            with flaws.passing():
                data = await archive.read_frame(number, near)
                await to_thread.run_sync(_verify, data, chunk, archive.name)
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


def layer_of(
    bundle: BundleReader, container: str, names: ArchiveNames, failures: Flaws | None = None
) -> Layer | None:
    """Return the index of one archive, of which nothing is read yet; None where there is none.

    Where it cannot be opened, once it is needed, that goes to `failures`, and it has no rows;
    without these it is raised.
    """
    needed = {container_file(container, each) for each in (names.rows, names.lookup)}
    return Layer(bundle, container, names, failures) if needed <= bundle.objects.keys() else None


async def open_layer(bundle: BundleReader, container: str, names: ArchiveNames) -> Layer | None:
    """Open the index of one archive; None where there is none."""
    layer = layer_of(bundle, container, names)
    if layer:
        await layer.open()
    return layer


def _gap(bundle: BundleReader, container: str, files: tuple[str, ...]) -> str:
    artifacts = bundle.statement.predicate.artifacts
    names = {container_file(container, name) for name in files}
    cut = any(each.name in names and Flag.TRUNCATED in each.flags for each in artifacts)
    return "the archive was cut, or damaged, before its end" if cut else ""


def _ends(
    stored: bytes, table: ExpectedObject, objects: Mapping[str, ExpectedObject]
) -> dict[str, bytes]:
    folder = table.name.rpartition("/")[0] + "/"
    with suppress(VerificationError):  # it is told where the table itself is taken
        return ends_in(unpacked(stored, table), folder, objects)
    return {}


def _verify(data: bytes, chunk: ChunkEntry, name: str) -> None:
    if hashlib.sha256(data).hexdigest() != chunk.sha256:
        raise VerificationError(f"a part of {name} is not what its lookup table says")


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
