"""The index of a container's files, read back: single rows without the rest::

    index = await open_index(bundle, "web")
    row = await index.find(b"/etc/passwd")

It shows one tree, as the container saw it: its file system, and what was mounted there on top.

Whatever it yields is verified: the manifest has the SHA-256 of the lookup table, the table that of
each chunk of rows. What cannot be read hides nothing else: the error comes after all the rest.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from forensics_core._internal.flaws import Flaws
from forensics_core.bundle.layer import MOUNTS, ROOTFS, UPPER, Layer, Names, open_layer
from forensics_core.bundle.layout import container_file
from forensics_core.bundle.mounts import PLACEHOLDERS, Mounted, Mounts, read_mounts
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError
from forensics_core.tarindex.row import Row


class FileIndex:
    """The index of one container's files; made by `open_index`."""

    def __init__(
        self,
        container: str,
        rootfs: Layer,
        mounted: Layer | None,
        mounts: Mounts,
        flaws: Flaws,
    ) -> None:
        self.container = container
        self._rootfs = rootfs
        self._mounted = mounted
        self._mounts = mounts
        self._flaws = flaws
        self.gap = rootfs.gap or (mounted.gap if mounted else "")
        """Why the container may have had files that it has no row of; empty if it had none."""

    @property
    def mount_points(self) -> frozenset[bytes]:
        """Where something was mounted, as far as the bundle says."""
        return frozenset(mount.path for mount in self._mounts.within(b"/"))

    def check(self) -> None:
        """Raise `VerificationError` if it was opened without a part that is not as it should be:
        the table of mounts, or the index of what lies on them."""
        self._flaws.check()

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
        """Return the row of an absolute path, None if there is none.

        Raises `VerificationError` where its row may be among what cannot be read.
        """
        real = self._mounts.resolve(path)
        mount = self._mounts.holder(real)
        if mount and mount.archived:
            if self._mounted:
                return await self._mounted.find(real)
            self.check()
            return None
        if mount is None:
            return await self._rootfs.find(real)
        return await self._stub(mount) if mount.path == real else None

    async def list(self, directory: bytes) -> list[Row]:
        """Return the rows of all that lies directly in a directory, by path.

        Raises `VerificationError` where some of them cannot be read; `entries` has the others.
        """
        async with aclosing(self.entries(directory)) as rows:
            return [row async for row in rows]

    async def entries(self, directory: bytes) -> AsyncGenerator[Row, None]:
        """Yield what `list` returns. Raises `VerificationError` only after the last."""
        real = self._mounts.resolve(directory)
        mount = self._mounts.holder(real)
        if mount and not mount.archived:
            return
        layer = self._mounted if mount else self._rootfs
        rows, numbers = await layer.entries(real) if layer else ([], [])
        found = {row.path: row for row in rows}
        for inner in self._mounts.within(real):
            if inner.path.rpartition(b"/")[0] == real.rstrip(b"/"):
                found.pop(inner.path, None)
                if row := await self.find(inner.path):
                    found[inner.path] = row
        for path in sorted(found):
            yield found[path]
        if layer:
            layer.check(numbers)
        self.check()

    async def rows(self, below: bytes = b"/") -> AsyncGenerator[Row, None]:
        """Yield every row of `below` and beneath it: the file system's, then those of mounts.

        Raises `VerificationError` after the last where some cannot be read.
        """
        real = self._mounts.resolve(below)
        prefix = real.rstrip(b"/") + b"/"
        async with aclosing(self._merged(stubs=True)) as batches:
            async for batch in batches:
                for row in batch:
                    if row.path == real or row.path.startswith(prefix):
                        yield row

    async def batches(self) -> AsyncGenerator[Sequence[Row], None]:
        """Yield every row that is in an archive, some at a time.

        Raises `VerificationError` after the last where some cannot be read.
        """
        async with aclosing(self._merged(stubs=False)) as batches:
            async for batch in batches:
                yield batch

    async def _merged(self, *, stubs: bool) -> AsyncGenerator[Sequence[Row], None]:
        """Yield what is in sight; `stubs`: with the mount points whose files are in no archive."""
        async with aclosing(self._rootfs.batches()) as batches:
            async for batch in batches:
                yield [row for each in batch if (row := self._beneath(each, stubs))]
        if self._mounted:
            async with aclosing(self._mounted.batches()) as batches:
                async for batch in batches:
                    yield [row for row in batch if self._is_archived(row)]
        for layer in filter(None, (self._rootfs, self._mounted)):
            layer.check()
        self.check()

    def _beneath(self, row: Row, stubs: bool) -> Row | None:
        """Return a row of the file system if no mount hides it."""
        mount = self._mounts.holder(row.path)
        if mount is None:
            return row
        stub = stubs and mount.path == row.path and not mount.archived
        return replace(row, hidden=mount.told(row.path)) if stub else None

    def _is_archived(self, row: Row) -> bool:
        mount = self._mounts.holder(row.path)
        return mount is not None and mount.archived

    async def _stub(self, mount: Mounted) -> Row | None:
        """Return the row of what lies beneath a mount that is in no archive."""
        row = await self._rootfs.find(mount.path)
        return replace(row, hidden=mount.told(mount.path)) if row else None


async def open_index(bundle: BundleReader, container: str, *, upper: bool = False) -> FileIndex:
    """Open the index of a container's files.

    With `upper` it is that of what a container that was removed meanwhile had written, as its
    overlay kept it. What can be opened is: `FileIndex.check` tells of the rest.

    Raises `UsageError` for a container that is not in the bundle, `ForensicsError` where it has no
    index, `VerificationError` where it is not genuine.
    """
    bundle.check_container(container)
    names = UPPER if upper else ROOTFS
    rootfs = await open_layer(bundle, container, names)
    if rootfs is None:
        raise _no_index(bundle, container, names)
    flaws = Flaws(f"The table of mounts of '{container}', or the index of them", "is damaged")
    if upper:
        return FileIndex(container, rootfs, None, Mounts([], known=True), flaws)
    mounts, mounted = await read_mounts(bundle, container, flaws), None
    with flaws.passing():
        mounted = await open_layer(bundle, container, MOUNTS)
    return FileIndex(container, rootfs, mounted, mounts, flaws)


def _no_index(bundle: BundleReader, container: str, names: Names) -> ForensicsError:
    there = [name for name in names.archives if container_file(container, name) in bundle.objects]
    if names is UPPER and not there:
        return ForensicsError(
            f"The bundle has nothing beside the file system of '{container}'",
            hint="Only a container that was removed during its capture has: leave out --upper",
        )
    plain = names.archives[-1]
    return ForensicsError(
        f"The bundle has no index of the files of '{container}'",
        hint=f"Run 'forensics fetch --decompress', then 'tar -tvf' on the {plain}",
    )
