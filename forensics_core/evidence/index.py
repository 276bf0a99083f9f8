"""The index of a container's file system, read back: single rows without the rest::

    index = await open_index(bundle, "web")
    row = await index.find(b"/etc/passwd")

Whatever it yields is verified: the manifest has the SHA-256 of the lookup table, the table that of
each chunk of rows.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from anyio import to_thread

from forensics_core.errors import ForensicsError, VerificationError
from forensics_core.evidence.archive import Archive, open_archive
from forensics_core.evidence.changes import read_verified
from forensics_core.evidence.index_row import Row, parse_rows
from forensics_core.evidence.layout import (
    ROOTFS_ARCHIVES,
    ROOTFS_INDEX,
    ROOTFS_LOOKUP,
    container_file,
)
from forensics_core.evidence.manifest import Flag
from forensics_core.evidence.reader import BundleReader
from forensics_core.export.tarindex.lookup import PathFilter

LOOKUP_LIMIT = 256 * 1024 * 1024
"""Bytes that a lookup table may have: that of a hundred million members."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What the lookup table says of one chunk of rows."""

    sha256: str
    size: int
    paths: PathFilter


class FileIndex:
    """The index of one container's files; made by `open_index`."""

    def __init__(self, container: str, rows: Archive, chunks: Sequence[Chunk], gap: str) -> None:
        self.container = container
        self._rows = rows
        self._chunks = chunks
        self.gap = gap
        """Why the container may have had files that it has no row of; empty if it had none."""

    @property
    def whole(self) -> bool:
        """Whether it has a row for every file there was."""
        return not self.gap

    async def find(self, path: bytes) -> Row | None:
        """Return the row of an absolute path, None if there is none."""
        async with aclosing(self._select(lambda paths: paths.may_hold(path))) as rows:
            async for row in rows:
                if row.path == path:
                    return row
        return None

    async def list(self, directory: bytes) -> list[Row]:
        """Return the rows of all that lies directly in a directory, by path."""
        async with aclosing(self._select(lambda paths: paths.may_list(directory))) as rows:
            found = [row async for row in rows if row.directory == directory and row.path != b"/"]
        return sorted(found, key=lambda row: row.path)

    async def rows(self, below: bytes = b"/") -> AsyncGenerator[Row, None]:
        """Yield every row of `below` and beneath it, in the archive's order."""
        prefix = below.rstrip(b"/") + b"/"
        async with aclosing(self._select(lambda _: True)) as rows:
            async for row in rows:
                if row.path == below or row.path.startswith(prefix):
                    yield row

    async def batches(self) -> AsyncGenerator[Sequence[Row], None]:
        """Yield every row there is, in the archive's order, as many at a time as lie together."""
        for number, chunk in enumerate(self._chunks):
            data = await self._rows.read_frame(number)
            yield await to_thread.run_sync(_verified, data, chunk, self._rows.name)

    async def _select(self, wanted: Callable[[PathFilter], bool]) -> AsyncGenerator[Row, None]:
        for number, chunk in enumerate(self._chunks):
            if wanted(chunk.paths):
                data = await self._rows.read_frame(number)
                for row in await to_thread.run_sync(_verified, data, chunk, self._rows.name):
                    yield row


async def open_index(bundle: BundleReader, container: str) -> FileIndex:
    """Open the index of a container's files.

    Raises `UsageError` for a container that is not in the bundle, `ForensicsError` where it has no
    index, `VerificationError` where it is not genuine.
    """
    bundle.check_container(container)
    name, table = (container_file(container, file) for file in (ROOTFS_INDEX, ROOTFS_LOOKUP))
    if not {name, table} <= bundle.expectations.keys():
        raise ForensicsError(
            f"The bundle has no index of the files of '{container}'",
            hint="Run 'forensics fetch --decompress', then 'tar -tvf' on the rootfs.tar",
        )
    data = await read_verified(bundle, bundle.expectations[table], limit=LOOKUP_LIMIT)
    chunks = await to_thread.run_sync(_parse, data, table)
    rows = await open_archive(bundle, name)
    sizes = [frame.original for frame in rows.frames or () if frame.original]
    if sizes != [chunk.size for chunk in chunks]:
        raise VerificationError(f"{table} does not fit {name}", hint="Run 'forensics verify'")
    return FileIndex(container, rows, chunks, _gap(bundle, container))


def _gap(bundle: BundleReader, container: str) -> str:
    artifacts = bundle.statement.predicate.artifacts
    names = {container_file(container, name) for name in (*ROOTFS_ARCHIVES, ROOTFS_INDEX)}
    cut = any(each.name in names and Flag.TRUNCATED in each.flags for each in artifacts)
    return "the archive was cut, or damaged, before its end" if cut else ""


def _verified(data: bytes, chunk: Chunk, name: str) -> list[Row]:
    if hashlib.sha256(data).hexdigest() != chunk.sha256:
        raise VerificationError(
            f"A part of {name} is not what its lookup table says", hint="Run 'forensics verify'"
        )
    return parse_rows(data, name)


def _parse(data: bytes, name: str) -> list[Chunk]:
    try:
        return [_chunk(json.loads(line)) for line in data.splitlines()]
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise VerificationError(
            f"{name} is no lookup table: {error}", hint="Treat the bundle as tampered with"
        ) from error


def _chunk(said: dict[str, Any]) -> Chunk:
    bits = base64.b64decode(said["filter"], validate=True)
    return Chunk(str(said["sha256"]), int(said["size"]), PathFilter(bits))
