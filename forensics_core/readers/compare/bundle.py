"""A container of a bundle, as one side of a comparison."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from forensics_core.bundle.content import find_file, read_file
from forensics_core.bundle.files import FileIndex, open_index
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError
from forensics_core.readers.compare import packages
from forensics_core.readers.compare.files import ComparedFile, own_attributes
from forensics_core.tarindex.row import Row, exact_bytes


class BundleSide:
    """Its files and packages; made by `open_side`."""

    def __init__(self, bundle: BundleReader, index: FileIndex) -> None:
        self._bundle = bundle
        self._index = index

    @property
    def gap(self) -> str:
        """Why it may have had files that are not in its index; empty if not."""
        return self._index.gap

    @property
    def mount_points(self) -> frozenset[bytes]:
        """Where something was mounted."""
        return self._index.mount_points

    async def files(self) -> AsyncGenerator[Sequence[ComparedFile], None]:
        """Yield its files. Raises `VerificationError` after the last where some are not genuine."""
        async with aclosing(self._index.batches()) as batches:
            async for batch in batches:
                # Deleted files are called by process: the same name is another file elsewhere.
                yield [_file(row) for row in batch if row.layer != "deleted"]

    async def packages(self) -> dict[str, str]:
        """Return the packages' versions by name, of all lists there are.

        Raises `ForensicsError` where there is a database that is not read.
        """
        found: dict[str, str] = {}
        several = [packages.DPKG, *packages.APK]
        several += [row.path for row in await self._index.list(packages.DPKG_FOLDER)]
        for path in filter(packages.is_list, several):
            content = await self.read(path)
            if content is not None:
                found |= packages.packages_in(path, content)
        if not found and any([await self._index.find(path) for path in packages.RPM]):
            raise ForensicsError("The packages are in RPM's database, which is not read here")
        return found

    async def read(self, path: bytes) -> bytes | None:
        """Return the content of a regular file, None if there is none of that path.

        Raises `ForensicsError` for one of more than `packages.MAX_LIST` bytes.
        """
        row = await self._index.find(path)
        if row is None or row.kind not in {"file", "hardlink"}:
            return None
        row = await find_file(self._index, path)
        if row.size > packages.MAX_LIST:
            raise ForensicsError(f"{path.decode()} is too large to be a list")
        async with aclosing(read_file(self._bundle, self._index, row)) as blocks:
            return b"".join([block async for block in blocks])


async def open_side(bundle: BundleReader, container: str) -> BundleSide:
    """Open the index of a container. Raises what `open_index` raises."""
    return BundleSide(bundle, await open_index(bundle, container))


def _file(row: Row) -> ComparedFile:
    device = row.document.get("device")
    return ComparedFile(
        row.path,
        row.kind,
        row.mode,
        row.uid,
        row.gid,
        row.size,
        row.sha256 or row.stored_sha256,
        row.target,
        row.mtime,
        tuple(each for each in device if isinstance(each, int)) if isinstance(device, list) else (),
        _attributes(row.document.get("xattrs")),
    )


def _attributes(found: Any) -> dict[str, str]:
    if not isinstance(found, dict):
        return {}
    named = {}
    for name, value in found.items():
        try:
            named[name] = base64.b64encode(exact_bytes(value)).decode()
        except (ValueError, TypeError, LookupError):
            named[name] = "illegible"
    return own_attributes(named)
