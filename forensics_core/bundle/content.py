"""One file out of a container's archive, by range requests::

    async with aclosing(read_file(bundle, index, row)) as blocks:
        async for block in blocks: ...

What it yields is hashed on the way; a file that is not what the index says fails at its end.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from anyio import to_thread

from forensics_core.bundle.expected import ExpectedObject
from forensics_core.bundle.files import FileIndex
from forensics_core.bundle.layout import container_file
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError, VerificationError
from forensics_core.tarindex.archive import Archive, open_archive
from forensics_core.tarindex.headers import BLOCK, NotTar
from forensics_core.tarindex.row import Row
from forensics_core.tarindex.sparse import MAX_PIECES, SparseMap

_ZEROS = bytes(1024 * 1024)
_MAP_STEP = 64 * 1024
_MAX_MAP = 32 * MAX_PIECES


async def find_file(index: FileIndex, path: bytes) -> Row:
    """Return the row that holds the content of the regular file `path`, be it a hard link.

    Raises `ForensicsError` for what is not there, or not a regular file.
    """
    row = await index.find(path)
    if row and row.kind == "hardlink":
        row = await index.find(row.target)
    if why := index.hidden(path, row):
        raise ForensicsError(why, hint="See what is missing: 'forensics ls LOCATION'")
    if row is None:
        more = f", but {index.gap}" if index.gap else ""
        raise ForensicsError(
            f"{_shown(path)} is not in the archive of '{index.container}'{more}",
            hint=f"List what is there: 'forensics ls LOCATION {index.container}:/'",
        )
    if row.kind != "file":
        what = f"a {row.kind}" + (f" to {_shown(row.target)}" if row.kind == "symlink" else "")
        raise ForensicsError(
            f"{_shown(path)} is {what}, not a regular file", hint="Name a regular file"
        )
    return row


async def read_file(
    bundle: BundleReader, index: FileIndex, row: Row
) -> AsyncGenerator[bytes, None]:
    """Yield the content of a regular file by its row, holes included.

    Raises `VerificationError`, at the end, if its SHA-256 is not the index's, or if nobody can tell
    what was mounted where.
    """
    if row.truncated:
        raise VerificationError(
            f"The archive ends in the middle of {_shown(row.path)}",
            hint="Fetch the archive, and take what is there with 'tar'",
        )
    archive = await _archive(bundle, index.container, row)
    content = _expanded(archive, row) if row.sparse else archive.read(row.data, row.stored)
    digest = hashlib.sha256()
    async with aclosing(content) as blocks:
        async for block in blocks:
            await to_thread.run_sync(digest.update, block)
            yield block
    if row.sha256:
        _require(digest.hexdigest() == row.sha256, row)
    else:
        # A file with too many holes to hash them: what is stored of it is compared.
        stored = archive.read(row.data, row.stored)
        _require(await _sha256(stored) == row.stored_sha256, row)
    index.check()


async def _archive(bundle: BundleReader, container: str, row: Row) -> Archive:
    expected = _expected_archive(bundle, container, row.archives)
    return await open_archive(bundle, expected, bundle.ends.get(expected.name, b""))


def _expected_archive(
    bundle: BundleReader, container: str, names: tuple[str, ...]
) -> ExpectedObject:
    for name in names:
        if (full := container_file(container, name)) in bundle.objects:
            return bundle.objects[full]
    raise VerificationError(
        f"The archive that the index of '{container}' speaks of is not in the manifest",
        hint="Run 'forensics verify'",
    )


async def read_pieces(
    bundle: BundleReader, index: FileIndex, row: Row
) -> AsyncGenerator[tuple[int, bytes], None]:
    """Yield the data of a sparse file without its holes, each block with its place in the file.

    A few kilobytes can be a file of 8 EiB. Raises `VerificationError`, at the end, if the data as
    stored has another SHA-256 than the index says, and what `read_file` raises.
    """
    archive = await _archive(bundle, index.container, row)
    async with aclosing(_pieces(archive, row)) as pieces:
        async for piece in pieces:
            yield piece
    _require(await _sha256(archive.read(row.data, row.stored)) == row.stored_sha256, row)
    index.check()


async def _expanded(archive: Archive, row: Row) -> AsyncGenerator[bytes, None]:
    """Yield what is in a sparse file: its pieces of data, and zeros between them."""
    at = 0
    async with aclosing(_pieces(archive, row)) as pieces:
        async for offset, block in pieces:
            for size in _steps(offset - at):
                yield _ZEROS[:size]
            yield block
            at = offset + len(block)
    for size in _steps(row.size - at):
        yield _ZEROS[:size]


async def _pieces(archive: Archive, row: Row) -> AsyncGenerator[tuple[int, bytes], None]:
    try:
        places = await _read_map(archive, row)
        places.check(row.stored - places.length)
    except NotTar as error:
        raise VerificationError(f"{_shown(row.path)}: {error}") from error
    place = row.data + places.length
    for offset, length in places.pieces():
        async with aclosing(archive.read(place, length)) as blocks:
            async for block in blocks:
                yield offset, block
                offset += len(block)
        place += length


async def _read_map(archive: Archive, row: Row) -> SparseMap:
    places = SparseMap(row.size)
    for start in range(0, min(row.stored, _MAX_MAP), _MAP_STEP):
        size = min(_MAP_STEP, row.stored - start)
        data = await archive.read_all(row.data + start, size)
        for block in range(0, size, BLOCK):
            if places.feed(data[block : block + BLOCK]):
                return places
    raise NotTar("a sparse file's map has no end")


def _steps(hole: int) -> Iterator[int]:
    for start in range(0, hole, len(_ZEROS)):
        yield min(len(_ZEROS), hole - start)


async def _sha256(blocks: AsyncGenerator[bytes, None]) -> str:
    digest = hashlib.sha256()
    async with aclosing(blocks):
        async for block in blocks:
            await to_thread.run_sync(digest.update, block)
    return digest.hexdigest()


def _require(genuine: bool, row: Row) -> None:
    if not genuine:
        raise VerificationError(
            f"{_shown(row.path)} is not what the index says: its SHA-256 differs",
            hint="Do not rely on what was read; run 'forensics verify'",
        )


def _shown(path: bytes) -> str:
    return repr(path.decode(errors="surrogateescape"))
