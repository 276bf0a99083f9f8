"""A bundle in a folder. Nothing in it is followed: neither symbolic links nor special files."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncGenerator, Iterator, Set
from pathlib import Path

from anyio import to_thread

from forensics_core.errors import AccessDenied, DestinationError, ObjectNotFound, TooManyObjects
from forensics_core.storage.blocks import BLOCK_SIZE
from forensics_core.storage.store import MAX_ENTRIES, Entry, check_name

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_BELOW = _FOLDER | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class FolderStore:
    """A `Store` in the folder `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def url(self) -> str:
        """The folder as a `file://` URL, ending in `/`."""
        return self.path.as_uri() + "/"

    async def list(self, begin: str = "", *, only: Set[str] | None = None) -> list[Entry]:
        """Return everything that is no folder, links and special files included."""
        entries = await to_thread.run_sync(_listing, self.path)
        return [
            entry
            for entry in entries
            if entry.name.startswith(begin) and (only is None or entry.name in only)
        ]

    def read(self, name: str, version_id: str | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the file's bytes; a folder has no versions."""
        return self.read_range(name, 0, None)

    async def read_range(
        self, name: str, start: int, length: int | None, version_id: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield a range of the file's bytes, every access in a thread."""
        descriptor = await to_thread.run_sync(_open, self.path, check_name(name))
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


def _listing(root: Path) -> list[Entry]:
    entries: list[Entry] = []
    try:
        for entry in _walk(root):
            if len(entries) == MAX_ENTRIES:
                raise TooManyObjects(
                    f"{root} holds more than {MAX_ENTRIES} files", hint="Name a bundle's own folder"
                )
            entries.append(entry)
    except OSError as error:
        raise _explain(error, root) from error
    return entries


def _walk(root: Path) -> Iterator[Entry]:
    """Yield all that is no folder, however deep it lies."""
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        with os.scandir(root / prefix) as members:
            for member in members:
                name = prefix + member.name
                if member.is_dir(follow_symlinks=False):
                    waiting.append(f"{name}/")
                else:
                    yield Entry(name, member.stat(follow_symlinks=False).st_size)


def _open(root: Path, name: str) -> int:
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
        raise _explain(error, root / name) from error


def _regular(descriptor: int) -> int:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ELOOP, "not a regular file")
    return descriptor


def _read(descriptor: int, size: int, offset: int, name: str) -> bytes:
    try:
        return os.pread(descriptor, size, offset)
    except OSError as error:
        raise _explain(error, Path(name)) from error


def _explain(error: OSError, path: Path) -> DestinationError:
    if isinstance(error, FileNotFoundError):
        return ObjectNotFound(f"{path} does not exist", hint="Check the location")
    if isinstance(error, PermissionError):
        return AccessDenied(f"{path} may not be read", hint="Use an account that may")
    if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.ENXIO}:
        return DestinationError(
            f"{path} is not a regular file below ordinary folders",
            hint="Links and special files are not evidence, and are not followed",
        )
    return DestinationError(f"{path}: {error.strerror}", hint="Check the disk")
