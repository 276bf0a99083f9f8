"""The index of a container's files, read back: single rows without the rest::

    index = await open_index(bundle, "web")
    row = await index.find(b"/etc/passwd")

It shows one tree, as the container saw it: its file system, and what was mounted there on top.

Whatever it yields is verified: the manifest has the SHA-256 of the lookup table, the table that of
each chunk of rows.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from anyio import to_thread

from forensics_core import strict_json
from forensics_core.bundle.documents import read_verified
from forensics_core.bundle.layout import (
    MOUNTS_ARCHIVES,
    MOUNTS_INDEX,
    MOUNTS_LOOKUP,
    ROOTFS_ARCHIVES,
    ROOTFS_INDEX,
    ROOTFS_LOOKUP,
    container_file,
)
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.mounts import PLACEHOLDERS, Mounted, Mounts, read_mounts
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError, VerificationError
from forensics_core.tarindex.archive import Archive, open_archive
from forensics_core.tarindex.lookup import PathFilter
from forensics_core.tarindex.row import Row, parse_rows

LOOKUP_LIMIT = 256 * 1024 * 1024
"""Bytes that a lookup table may have: that of a hundred million members."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What the lookup table says of one chunk of rows."""

    sha256: str
    size: int
    paths: PathFilter


class _Layer:
    """The index of one archive."""

    def __init__(
        self, rows: Archive, chunks: Sequence[Chunk], archives: tuple[str, ...], gap: str
    ) -> None:
        self._rows = rows
        self._chunks = chunks
        self._archives = archives
        self.gap = gap

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
            yield await to_thread.run_sync(_verified, data, chunk, self._rows.name, self._archives)

    async def _select(self, wanted: Callable[[PathFilter], bool]) -> AsyncGenerator[Row, None]:
        for number, chunk in enumerate(self._chunks):
            if wanted(chunk.paths):
                data = await self._rows.read_frame(number)
                rows = await to_thread.run_sync(
                    _verified, data, chunk, self._rows.name, self._archives
                )
                for row in rows:
                    yield row


class FileIndex:
    """The index of one container's files; made by `open_index`."""

    def __init__(
        self, container: str, rootfs: _Layer, mounted: _Layer | None, mounts: Mounts
    ) -> None:
        self.container = container
        self._rootfs = rootfs
        self._mounted = mounted
        self._mounts = mounts
        self.gap = rootfs.gap or (mounted.gap if mounted else "")
        """Why the container may have had files that it has no row of; empty if it had none."""

    @property
    def whole(self) -> bool:
        """Whether it has a row for every file there was."""
        return not self.gap

    def hidden(self, path: bytes, row: Row | None) -> str:
        """Return why a path is in no archive, because of what is mounted; empty if it is in one."""
        real = self._mounts.resolve(path)
        mount = self._mounts.holder(real)
        if mount and not mount.archived:
            return mount.told(real)
        stub = not self._mounts.known and row is not None and not row.size
        if stub and path in PLACEHOLDERS:
            return (
                f"{path.decode()!r} is mounted by the runtime, and was not captured: this bundle is"
                " of an older release, and holds only the empty file beneath"
            )
        return ""

    async def find(self, path: bytes) -> Row | None:
        """Return the row of an absolute path, None if there is none."""
        real = self._mounts.resolve(path)
        mount = self._mounts.holder(real)
        if mount and mount.archived:
            return await self._mounted.find(real) if self._mounted else None
        if mount is None:
            return await self._rootfs.find(real)
        return await self._stub(mount) if mount.path == real else None

    async def list(self, directory: bytes) -> list[Row]:
        """Return the rows of all that lies directly in a directory, by path."""
        real = self._mounts.resolve(directory)
        mount = self._mounts.holder(real)
        if mount and not mount.archived:
            return []
        layer = self._mounted if mount else self._rootfs
        found = {row.path: row for row in (await layer.list(real) if layer else ())}
        for inner in self._mounts.within(real):
            if inner.path.rpartition(b"/")[0] == real.rstrip(b"/"):
                found.pop(inner.path, None)
                if row := await self.find(inner.path):
                    found[inner.path] = row
        return [found[path] for path in sorted(found)]

    async def rows(self, below: bytes = b"/") -> AsyncGenerator[Row, None]:
        """Yield every row of `below` and beneath it: the file system's, then those of mounts."""
        real = self._mounts.resolve(below)
        async with aclosing(self._rootfs.rows(real)) as rows:
            async for row in rows:
                mount = self._mounts.holder(row.path)
                if mount is None:
                    yield row
                elif mount.path == row.path and not mount.archived:
                    yield replace(row, hidden=mount.told(row.path))
        if self._mounted:
            async with aclosing(self._mounted.rows(real)) as rows:
                async for row in rows:
                    mount = self._mounts.holder(row.path)
                    if mount and mount.archived:
                        yield row

    async def batches(self) -> AsyncGenerator[Sequence[Row], None]:
        """Yield every row that is in an archive, as many at a time as lie together."""
        async with aclosing(self._rootfs.batches()) as batches:
            async for batch in batches:
                yield [row for row in batch if self._mounts.holder(row.path) is None]
        if self._mounted:
            async with aclosing(self._mounted.batches()) as batches:
                async for batch in batches:
                    yield [row for row in batch if self._is_archived(row)]

    def _is_archived(self, row: Row) -> bool:
        mount = self._mounts.holder(row.path)
        return mount is not None and mount.archived

    async def _stub(self, mount: Mounted) -> Row | None:
        """Return the row of what lies beneath a mount that is in no archive."""
        row = await self._rootfs.find(mount.path)
        return replace(row, hidden=mount.told(mount.path)) if row else None


async def open_index(bundle: BundleReader, container: str) -> FileIndex:
    """Open the index of a container's files.

    Raises `UsageError` for a container that is not in the bundle, `ForensicsError` where it has no
    index, `VerificationError` where it is not genuine.
    """
    bundle.check_container(container)
    rootfs = await _open_layer(bundle, container, ROOTFS_INDEX, ROOTFS_LOOKUP, ROOTFS_ARCHIVES)
    if rootfs is None:
        raise ForensicsError(
            f"The bundle has no index of the files of '{container}'",
            hint="Run 'forensics fetch --decompress', then 'tar -tvf' on the rootfs.tar",
        )
    mounts = await read_mounts(bundle, container)
    names = (MOUNTS_INDEX, MOUNTS_LOOKUP, MOUNTS_ARCHIVES)
    mounted = await _open_layer(bundle, container, *names)
    return FileIndex(container, rootfs, mounted, mounts)


async def _open_layer(
    bundle: BundleReader, container: str, index: str, lookup: str, archives: tuple[str, ...]
) -> _Layer | None:
    """Open the index of one archive; None where there is none."""
    name, table = container_file(container, index), container_file(container, lookup)
    if not {name, table} <= bundle.objects.keys():
        return None
    data = await read_verified(bundle, bundle.objects[table], limit=LOOKUP_LIMIT)
    chunks = await to_thread.run_sync(_parse, data, table)
    rows = await open_archive(bundle, bundle.objects[name])
    sizes = [frame.original for frame in rows.frames or () if frame.original]
    if sizes != [chunk.size for chunk in chunks]:
        raise VerificationError(f"{table} does not fit {name}", hint="Run 'forensics verify'")
    return _Layer(rows, chunks, archives, _gap(bundle, container, (*archives, index)))


def _gap(bundle: BundleReader, container: str, files: tuple[str, ...]) -> str:
    artifacts = bundle.statement.predicate.artifacts
    names = {container_file(container, name) for name in files}
    cut = any(each.name in names and Flag.TRUNCATED in each.flags for each in artifacts)
    return "the archive was cut, or damaged, before its end" if cut else ""


def _verified(data: bytes, chunk: Chunk, name: str, archives: tuple[str, ...]) -> list[Row]:
    if hashlib.sha256(data).hexdigest() != chunk.sha256:
        raise VerificationError(
            f"A part of {name} is not what its lookup table says", hint="Run 'forensics verify'"
        )
    return parse_rows(data, name, archives)


def _parse(data: bytes, name: str) -> list[Chunk]:
    try:
        return [_chunk(strict_json.loads_row(line)) for line in data.splitlines()]
    except (ValueError, TypeError, LookupError) as error:
        raise VerificationError(
            f"{name} is no lookup table: {error}", hint="Treat the bundle as tampered with"
        ) from error


def _chunk(said: dict[str, Any]) -> Chunk:
    bits = base64.b64decode(said["filter"], validate=True)
    return Chunk(str(said["sha256"]), int(said["size"]), PathFilter(bits))
