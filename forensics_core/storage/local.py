"""The `file://` storage: a folder on this machine, or a drive that is mounted on it.

Nothing in it is followed when it is read: neither symbolic links nor special files.
"""

from __future__ import annotations

import base64
import errno
import io
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence, Set
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

from anyio import CancelScope, to_thread
from awscrt import checksums

from forensics_core.errors import (
    AccessDenied,
    BucketNotFound,
    DestinationError,
    DestinationFull,
    ObjectExists,
)
from forensics_core.storage.blocks import BLOCK_SIZE
from forensics_core.storage.local_listing import explain_reading, listing, named
from forensics_core.storage.objects import (
    MAX_ENTRIES,
    Buffer,
    ClockSample,
    ObjectWriter,
    StoredObject,
    check_name,
)

UNFINISHED = ".unfinished"
"""The ending that a file has while it is being written."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_BELOW = _FOLDER | os.O_NOFOLLOW
# O_NONBLOCK: opening a FIFO that somebody put in a file's place would wait for a writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES}
"""What CIFS and FUSE say to it; the last one, where entries may be made but not be listed."""


class LocalStorage:
    """A `Storage` in the folder `path`, which is made when something is stored in it."""

    def __init__(self, path: Path, *, max_files: int = MAX_ENTRIES) -> None:
        self.path = path
        self.max_files = max_files
        """Files that a listing may find: more are no bundle."""

    @property
    def url(self) -> str:
        """The folder as a `file://` URL, ending in `/`."""
        return self.path.as_uri() + "/"

    @property
    def clock_samples(self) -> Sequence[ClockSample]:
        """Nothing: a folder has no clock of its own."""
        return ()

    async def check(self) -> None:
        """Find out whether the folder can be made and written to."""
        await to_thread.run_sync(_check, self.path)

    def create(
        self, name: str, *, content_type: str = "application/octet-stream"
    ) -> AbstractAsyncContextManager[ObjectWriter]:
        """Begin the file `name`. Raises `ObjectExists` if it is there; its type has no place."""
        return _file(self.path / name, name)

    async def stat(self, name: str, version_id: str | None = None) -> StoredObject:
        """Return the file's size. Raises `ObjectNotFound`."""
        return await to_thread.run_sync(_stat, self.path, check_name(name))

    async def list(self, begin: str = "", *, only: Set[str] | None = None) -> list[StoredObject]:
        """Return everything that is no folder, links and special files included."""
        if only is not None:
            found = await to_thread.run_sync(named, self.path, only)
        else:
            found = await to_thread.run_sync(listing, self.path, self.max_files)
        return [entry for entry in found if entry.name.startswith(begin)]

    def read(self, name: str, version_id: str | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the file's bytes; a folder has no versions."""
        return self.read_range(name, 0, None)

    async def read_range(
        self, name: str, start: int, length: int | None, version_id: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield a range of the file's bytes, every access in a thread."""
        descriptor = await to_thread.run_sync(_open_file, self.path, check_name(name))
        end = None if length is None else start + length
        try:
            while end is None or start < end:
                wanted = BLOCK_SIZE if end is None else min(BLOCK_SIZE, end - start)
                block = await to_thread.run_sync(_read, descriptor, wanted, start, name)
                if not block:
                    return
                start += len(block)
                yield block
        finally:
            os.close(descriptor)


def _check(path: Path) -> None:
    # The folder may not be there yet, and is not made for a question: then it is about the nearest
    # one that is.
    nearest = path
    try:
        while not nearest.exists():
            nearest = nearest.parent
    except OSError as error:
        raise _explain(error, path) from error
    if not nearest.is_dir():
        raise BucketNotFound(f"{nearest} is not a folder", hint="Name a folder as destination")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise AccessDenied(f"{nearest} cannot be written to", hint="Use a folder of your own")


@asynccontextmanager
async def _file(path: Path, name: str) -> AsyncIterator[ObjectWriter]:
    writer = _FileWriter(path, name)
    try:
        await writer.open()
        yield writer
    finally:
        # Shielded: a capture that is cancelled must not leave half a file behind.
        with CancelScope(shield=True):
            await to_thread.run_sync(writer.discard)


class _FileWriter:
    """Writes beside the final name, and takes that name only when all is on the disk."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._unfinished = path.with_name(path.name + UNFINISHED)
        self._name = name
        self._file: io.FileIO | None = None
        self._size = 0
        self._crc = 0

    async def open(self) -> None:
        await to_thread.run_sync(self._explained, self._open)

    async def write(self, block: Buffer) -> None:
        """Append `block`. Raises `DestinationFull` where the disk is."""
        await to_thread.run_sync(self._explained, self._append, block)

    async def commit(self) -> StoredObject:
        """Give the file its name. Raises `ObjectExists` if that was taken meanwhile."""
        await to_thread.run_sync(self._explained, self._finish)
        checksum = base64.b64encode(self._crc.to_bytes(8, "big")).decode()
        return StoredObject(self._name, self._size, crc64nvme=checksum)

    def discard(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            with suppress(OSError):
                self._unfinished.unlink()

    def _open(self) -> None:
        _make(self._path.parent)
        # Early, so that nothing is read for nothing. What counts is `_name`, at the end.
        if self._path.exists():
            raise FileExistsError(errno.EEXIST, "exists", str(self._path))
        self._file = io.FileIO(self._unfinished, "x", opener=_private)

    def _append(self, block: Buffer) -> None:
        if self._file is None:
            raise ValueError("the file is not open")
        # A raw file may take less than it is given, as where the disk is almost full.
        rest = memoryview(block)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._size += len(block)
        self._crc = checksums.crc64nvme(block, self._crc)

    def _finish(self) -> None:
        if self._file is None:
            raise ValueError("the file is not open")
        # The content before the name: after a power cut no name is there whose bytes are not. The
        # folder's own entry is written last.
        os.fsync(self._file.fileno())
        _name(self._unfinished, self._path)
        _sync(self._path.parent)

    def _explained(self, action: Callable[..., None], *arguments: Buffer) -> None:
        try:
            action(*arguments)
        except OSError as error:
            raise _explain(error, self._path) from error


def _private(path: str, flags: int) -> int:
    """Create a file that only its owner may read: evidence is full of other people's secrets."""
    return os.open(path, flags, 0o600)


def _name(unfinished: Path, final: Path) -> None:
    """Name a file without ever replacing another; some drives have no hard links."""
    try:
        # A link fails where the name is taken, a rename replaces what has it. It is a second name
        # for the file, and the first is removed in `discard`.
        os.link(unfinished, final)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}:
            raise
        # Not safe against somebody who is faster; drives like that (FAT, CIFS, FUSE) have nothing
        # better.
        if final.exists():
            raise FileExistsError(errno.EEXIST, "exists", str(final)) from error
        unfinished.rename(final)


def _make(folder: Path) -> None:
    """Make a folder and those above it, all of them as lasting as what comes into them."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    """Have a folder's entries on the disk; some network drives cannot, or need not, do it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _explain(error: OSError, path: Path) -> DestinationError:
    if isinstance(error, FileExistsError):
        return ObjectExists(
            f"{path} exists already, and evidence is never overwritten",
            hint="Choose another bundle name",
        )
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DestinationFull(f"No space is left for {path}", hint="Free space, or go elsewhere")
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return AccessDenied(f"{path} cannot be written", hint="Use a folder of your own")
    return DestinationError(f"{path}: {error.strerror}", hint="Check the disk and the path")


def _stat(root: Path, name: str) -> StoredObject:
    descriptor = _open_file(root, name)
    try:
        return StoredObject(name, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def _open_file(root: Path, name: str) -> int:
    """Open a regular file, component by component, so that no link leads elsewhere."""
    *folders, last = name.split("/")
    try:
        folder = os.open(root, _FOLDER)
        try:
            for part in folders:
                below = os.open(part, _BELOW, dir_fd=folder)
                os.close(folder)
                folder = below
            return _regular(os.open(last, _FILE, dir_fd=folder))
        finally:
            os.close(folder)
    except OSError as error:
        raise explain_reading(error, root / name) from error


def _regular(descriptor: int) -> int:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ELOOP, "not a regular file")
    return descriptor


def _read(descriptor: int, size: int, offset: int, name: str) -> bytes:
    try:
        return os.pread(descriptor, size, offset)
    except OSError as error:
        raise explain_reading(error, Path(name)) from error
