"""The index of a container's files, read back: single rows without the rest::

    index = await open_index(bundle, "web")
    row = await index.find(b"/etc/passwd")

It shows one tree, as the container saw it: its file system, what it had written where that is kept
apart since the container was removed meanwhile, and what was mounted on top. Only beneath `/proc`
the numbers are the node's, and the processes above the container's are there. Files that have no
name any more are in the folder `/(deleted)`, by the processes that held them, and file systems that
only some processes saw in `/(kept)`. Each row says which archive it is from: `Row.layer`.

Whatever it yields is verified: the manifest has the SHA-256 of the lookup table, the table that of
each chunk of rows. What cannot be read hides nothing else: the error comes after all the rest.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from forensics_core._internal.flaws import Flaws
from forensics_core._internal.tasks import task_group
from forensics_core.bundle.layer import (
    DELETED,
    MOUNTS,
    PROC,
    ROOTFS,
    UPPER,
    ArchiveNames,
    Layer,
    layer_of,
    open_layer,
)
from forensics_core.bundle.layout import DELETED_FOLDER, KEPT_FOLDER, container_file
from forensics_core.bundle.mounts import PLACEHOLDERS, Mounted, Mounts, read_mounts
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError, VerificationError
from forensics_core.tarindex.row import Row

MAX_UPPER = 100_000
"""Rows of what a removed container had written that may take the place of others."""


@dataclass(frozen=True, slots=True)
class TreeIndexes:
    """The indexes of the archives that make up one tree; None is what the bundle does not have."""

    rootfs: Layer | None
    upper: Layer | None = None
    mounted: Layer | None = None
    deleted: Layer | None = None
    proc: Layer | None = None
    """What was beneath `/proc`: apart from the others, for the kernel made it up."""

    def __iter__(self) -> Iterator[Layer]:
        """Yield those of the tree that there are, the lowest first."""
        layers = self.rootfs, self.upper, self.mounted, self.deleted
        return (layer for layer in layers if layer)


class FileIndex:
    """The index of one container's files; made by `open_index`."""

    def __init__(self, container: str, layers: TreeIndexes, mounts: Mounts, flaws: Flaws) -> None:
        self.container = container
        self._layers = layers
        self._mounts = mounts
        self._flaws = flaws
        gaps = [layer.gap for layer in layers if layer.gap]
        if layers.rootfs is None:
            gaps.insert(0, "its file system was not captured")
        self.gap = gaps[0] if gaps else ""
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
        if row and row.layer == "deleted":
            return ""
        real = self._mounts.resolve(path)
        mount = self._mounts.holder(real)
        if mount and not mount.archived and not self._in_proc(real, mount):
            return mount.why_not_archived(real)
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
        for special, folder in self._special():
            if is_beneath(path, folder) and (row := await special.find(path)):
                return row
        real = self._mounts.resolve(path)
        mount = self._mounts.holder(real)
        if proc := self._in_proc(real, mount):
            return await self._find_in(proc, real)
        if mount and mount.archived:
            return await self._find_in(self._layers.mounted, real)
        if mount is None:
            return await self._find_own(real)
        return await self._stub(mount) if mount.path == real else None

    async def _find_in(self, layer: Layer | None, path: bytes) -> Row | None:
        row = await layer.find(path) if layer else None
        if row is None:
            self.check()
        return row

    async def _find_own(self, path: bytes) -> Row | None:
        """Return a row of the container's own file system."""
        upper = await self._layers.upper.find(path) if self._layers.upper else None
        if upper and upper.kind != "directory":
            return upper
        rootfs = await self._layers.rootfs.find(path) if self._layers.rootfs else None
        return rootfs or upper

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
        proc = self._in_proc(real, mount)
        if mount and not mount.archived and not proc:
            return
        found, looked = await self._gather(directory, real, mount)
        if not proc:
            await self._add_points(real, found)
        for path in sorted(found):
            yield found[path]
        for layer, numbers in looked:
            layer.check(numbers)
        self.check()

    async def _gather(
        self, directory: bytes, real: bytes, mount: Mounted | None
    ) -> tuple[dict[bytes, Row], Sequence[tuple[Layer, Sequence[int] | None]]]:
        """Return the rows of a directory, by path, and the layers that they were looked for in."""
        found, looked = dict[bytes, Row](), list[tuple[Layer, Sequence[int] | None]]()
        for layer, folder in self._places(directory, real, mount):
            rows, numbers = await layer.entries(folder)
            looked.append((layer, numbers))
            for row in rows:
                if row.kind != "directory" or row.path not in found:
                    found[row.path] = row
        for special, top in self._special() if directory == b"/" else ():
            looked.append((special, None))
            with suppress(VerificationError):  # it is raised once all is yielded
                if there := await special.find(top):
                    found[top] = there
        return found, looked

    def _places(
        self, directory: bytes, real: bytes, mount: Mounted | None
    ) -> Iterator[tuple[Layer, bytes]]:
        """Yield the layers in which a directory is, the lowest first, each with its path there."""
        layers = self._layers
        if proc := self._in_proc(real, mount):
            yield proc, real
            return
        for layer in (layers.mounted,) if mount else (layers.rootfs, layers.upper):
            if layer:
                yield layer, real
        for special, folder in self._special():
            if is_beneath(directory, folder) and not (mount and special is layers.mounted):
                yield special, directory

    async def _add_points(self, directory: bytes, found: dict[bytes, Row]) -> None:
        """Put what is mounted directly in a directory into the place of what lies beneath."""
        for inner in self._mounts.within(directory):
            if inner.path.rpartition(b"/")[0] == directory.rstrip(b"/"):
                found.pop(inner.path, None)
                if row := await self.find(inner.path):
                    found[inner.path] = row

    async def rows(self, below: bytes = b"/") -> AsyncGenerator[Row, None]:
        """Yield every row of `below` and beneath it: the file system's, then those of mounts.

        Raises `VerificationError` after the last where some cannot be read.
        """
        real = self._mounts.resolve(below)
        prefix = real.rstrip(b"/") + b"/"
        proc = self._in_proc(real, self._mounts.holder(real))
        async with aclosing(proc.batches() if proc else self._merged(stubs=True)) as batches:
            async for batch in batches:
                for row in batch:
                    if row.path == real or row.path.startswith(prefix):
                        yield row
        if proc:
            proc.check()

    async def batches(self) -> AsyncGenerator[Sequence[Row], None]:
        """Yield every row that is in an archive, some at a time.

        Raises `VerificationError` after the last where some cannot be read.
        """
        async with aclosing(self._merged(stubs=False)) as batches:
            async for batch in batches:
                yield batch

    def _special(self) -> Iterator[tuple[Layer, bytes]]:
        """Yield the layers with a folder that the container had not, each with that folder."""
        if self._layers.deleted:
            yield self._layers.deleted, DELETED_FOLDER
        if self._layers.mounted and self._mounts.within(KEPT_FOLDER):
            yield self._layers.mounted, KEPT_FOLDER

    def _in_proc(self, path: bytes, mount: Mounted | None) -> Layer | None:
        """Return the archive of /proc where a path lies in that; None where it does not."""
        ours = mount is not None and mount.state == "kernel" and (path + b"/").startswith(b"/proc/")
        return self._layers.proc if ours else None

    async def _merged(self, *, stubs: bool) -> AsyncGenerator[Sequence[Row], None]:
        """Yield what is in sight; `stubs`: with the mount points whose files are in no archive."""
        layers = self._layers
        await self._open_all()
        written = await self._written() if layers.rootfs and layers.upper else frozenset[bytes]()
        for layer in filter(None, (layers.rootfs, layers.upper)):
            other = written if layer is layers.rootfs else frozenset[bytes]()
            async with aclosing(layer.batches()) as batches:
                async for batch in batches:
                    rows = (each for each in batch if each.path not in other)
                    yield [row for each in rows if (row := self._visible_row(each, stubs))]
        if layers.mounted:
            async with aclosing(layers.mounted.batches()) as batches:
                async for batch in batches:
                    yield [row for row in batch if self._is_archived(row)]
        if layers.deleted:
            async with aclosing(layers.deleted.batches()) as batches:
                async for batch in batches:
                    # Its directories are those of /proc, and have no times of their own.
                    yield [row for row in batch if row.kind != "directory"]
        for layer in layers:
            layer.check()
        self.check()

    async def _open_all(self) -> None:
        async with task_group() as tasks:
            for layer in self._layers:
                tasks.start_soon(layer.open)

    async def _written(self) -> frozenset[bytes]:
        """Return the paths at which a removed container had something else by the beginning."""
        paths = set[bytes]()
        if self._layers.upper:
            async with aclosing(self._layers.upper.batches()) as batches:
                async for batch in batches:
                    paths.update(row.path for row in batch)
                    if len(paths) > MAX_UPPER:
                        return frozenset()  # then both are shown
        return frozenset(paths)

    def _visible_row(self, row: Row, stubs: bool) -> Row | None:
        """Return a row of the file system if no mount hides it."""
        mount = self._mounts.holder(row.path)
        if mount is None:
            return row
        stub = stubs and mount.path == row.path and not mount.archived
        return replace(row, hidden=mount.why_not_archived(row.path)) if stub else None

    def _is_archived(self, row: Row) -> bool:
        mount = self._mounts.holder(row.path)
        return mount is not None and mount.archived

    async def _stub(self, mount: Mounted) -> Row | None:
        """Return the row of what lies beneath a mount that is in no archive."""
        row = await self._find_own(mount.path)
        return replace(row, hidden=mount.why_not_archived(mount.path)) if row else None


async def open_index(bundle: BundleReader, container: str, *, upper: bool = False) -> FileIndex:
    """Open the index of a container's files.

    With `upper` it is that of what a container that was removed meanwhile had written, as its
    overlay kept it. What can be read is: `FileIndex.check` tells of the rest.

    Raises `UsageError` for a container that is not in the bundle, `ForensicsError` where it has no
    index, `VerificationError` where it is not genuine.
    """
    bundle.check_container(container)
    flaws = Flaws(f"The table of mounts of '{container}', or the index of them", "is damaged")
    if upper:
        layer = await open_layer(bundle, container, UPPER)
        if layer is None:
            raise _no_index(bundle, container, UPPER)
        return FileIndex(container, TreeIndexes(layer), Mounts([], known=True), flaws)
    rootfs = layer_of(bundle, container, ROOTFS)
    if rootfs is None and _archive_of(bundle, container, ROOTFS):
        raise _no_index(bundle, container, ROOTFS)
    # What was written is nothing by itself: whoever takes it for the file system is misled.
    names = (UPPER if rootfs else None, MOUNTS, DELETED, PROC)
    others = [layer_of(bundle, container, each, flaws) if each else None for each in names]
    if rootfs is None and not any(others):
        raise _no_index(bundle, container, ROOTFS)
    # Its lookup table may have a copy of the table of mounts. The others wait until somebody asks.
    if rootfs:
        await rootfs.open()
    mounts = await read_mounts(bundle, container, flaws)
    return FileIndex(container, TreeIndexes(rootfs, *others), mounts, flaws)


def is_beneath(path: bytes, folder: bytes) -> bool:
    """Whether a path is that of a folder, or of something in it."""
    return path == folder or path.startswith(folder + b"/")


def _archive_of(bundle: BundleReader, container: str, names: ArchiveNames) -> bool:
    return any(container_file(container, name) in bundle.objects for name in names.archives)


def _no_index(bundle: BundleReader, container: str, names: ArchiveNames) -> ForensicsError:
    if names is UPPER and not _archive_of(bundle, container, names):
        return ForensicsError(
            f"The bundle has nothing beside the file system of '{container}'",
            hint="Only a container that was removed during its capture has: leave out --upper",
        )
    plain = names.archives[-1]
    return ForensicsError(
        f"The bundle has no index of the files of '{container}'",
        hint=f"Run 'forensics fetch --decompress', then 'tar -tvf' on the {plain}",
    )
