"""What a container wrote, held file by file, so that it outlives the container's removal.

A runtime that removes a container deletes the files in its overlay's upper directory one by one. A
mounted view of them then shows the image only, as if nothing had ever been written. But an inode
stays while a descriptor stands for it, even one without any right to read::

    async with hold_upper(layers.upper) as held:
        ...  # the container is removed
        async for block in held.archive(): ...

The archive is the upper directory as the overlay keeps it: a deleted name is a device 0/0, and the
overlay's own attributes are there.

Source: Documentation/filesystems/overlayfs.rst, open(2) on O_PATH
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

from anyio import CancelScope, to_thread

from collector.documents import BoundedNames, readable
from collector.files import pax
from collector.files.lower_layers import join
from collector.files.safe_open import PLACE, open_data, open_folder, opened
from collector.files.sockets import decimal, socket_member
from collector.node.abandonable import run_abandonable
from forensics_core.tarindex.member import Member, absolute

MAX_FILES = 2048
"""Entries of one container that are held."""
TIMEOUT = 10.0
"""Seconds that opening them may take."""
_BLOCK = 256 * 1024
_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}
"""A tar archive cannot hold sockets."""


@dataclass(frozen=True, slots=True)
class HeldUpper:
    """The entries of an upper directory."""

    places: tuple[tuple[bytes, int], ...]
    """Paths, relative to the top, and descriptors."""
    complete: bool
    """Whether these are all that there were."""
    unread: BoundedNames = field(default_factory=BoundedNames)
    """Files of which the archive has zeros, at least at the end: they could not be read."""
    sockets: BoundedNames = field(default_factory=BoundedNames)
    """Sockets, which the archive cannot have."""
    unheld: BoundedNames = field(default_factory=BoundedNames)
    """Entries, and folders with what is in them, that could not be opened."""
    bare: BoundedNames = field(default_factory=BoundedNames)
    """Entries that are stored without all of their attributes."""

    def socket_members(self) -> Iterator[Member]:
        """Yield the index's rows of the sockets, and note their names."""
        for path, place in self.places:
            found = os.fstat(place)
            if stat.S_ISSOCK(found.st_mode):
                self.sockets.add(readable(path))
                yield socket_member(absolute(path), found)

    async def archive(self) -> AsyncIterator[bytes]:
        """Yield a pax archive of them."""
        for path, place in self.places:
            member = await to_thread.run_sync(self._member, path, place)
            if member is None:
                continue
            yield member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
            if member.isreg():
                async for block in self._content(path, place, member.size):
                    yield block
        yield bytes(2 * tarfile.BLOCKSIZE)

    def _member(self, path: bytes, place: int) -> tarfile.TarInfo | None:
        told = dict[str, str]()
        try:
            for name, value in pax.attributes(place):
                key = f"SCHILY.xattr.{os.fsdecode(pax.escaped(name))}"
                told[key] = os.fsdecode(value)
        except OSError:
            self.bare.add(readable(path))
        return _described(path, place, told)

    async def _content(self, path: bytes, place: int, size: int) -> AsyncIterator[bytes]:
        """Yield exactly `size` bytes, and the padding; what cannot be read is zeros."""
        left = size
        with suppress(OSError):
            data = await to_thread.run_sync(open_data, place)
            with opened(data):
                while left and (
                    block := await to_thread.run_sync(os.read, data, min(_BLOCK, left))
                ):
                    left -= len(block)
                    yield block
        if left:
            self.unread.add(readable(path))
        while left:
            zeros = min(_BLOCK, left)
            left -= zeros
            yield bytes(zeros)
        yield bytes(-size % tarfile.BLOCKSIZE)


@asynccontextmanager
async def hold_upper(upper: int, limit: int = MAX_FILES) -> AsyncIterator[HeldUpper]:
    """Hold what is beneath the directory with the descriptor `upper`, for the block.

    It is `limit` entries at most.
    """
    with ExitStack() as stack:
        try:
            yield await run_abandonable(TIMEOUT, "the upper directory", _hold, stack, upper, limit)
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(stack.close)


def _hold(stack: ExitStack, upper: int, limit: int) -> HeldUpper:
    places, unheld = list[tuple[bytes, int]](), BoundedNames()
    for path, place in _walk(upper, unheld):
        stack.callback(os.close, place)
        if len(places) >= limit:
            return HeldUpper(tuple(places), complete=False, unheld=unheld)
        places.append((path, place))
    return HeldUpper(tuple(places), complete=True, unheld=unheld)


def _walk(upper: int, unheld: BoundedNames) -> Iterator[tuple[bytes, int]]:
    """Yield descriptors, for the caller to close; folders before what is in them."""
    waiting = [(b"", open_folder(upper))]
    try:
        while waiting:
            path, folder = waiting.pop()
            with opened(folder), os.scandir(folder) as entries:
                for entry in entries:
                    below = join(path, os.fsencode(entry.name))
                    try:
                        place = os.open(os.fsencode(entry.name), PLACE, dir_fd=folder)
                        yield below, place
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append((below, open_folder(place)))
                    except FileNotFoundError:
                        continue  # it is gone already
                    except OSError:  # there are too many open files, or it is not to be opened
                        unheld.add(readable(below))
    finally:
        for _, folder in waiting:
            os.close(folder)


def _described(path: bytes, place: int, attributes: Mapping[str, str]) -> tarfile.TarInfo | None:
    """Describe an entry for the archive; None for a socket."""
    status = os.fstat(place)
    kind = _TYPES.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return None
    member = tarfile.TarInfo(f"./{os.fsdecode(path)}")
    member.type, member.mode = kind, stat.S_IMODE(status.st_mode)
    member.uid, member.gid, member.mtime = status.st_uid, status.st_gid, status.st_mtime
    if member.isreg():
        member.size = status.st_size
    if member.ischr() or member.isblk():
        member.devmajor, member.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    if member.issym():
        member.linkname = os.fsdecode(os.readlink(b"", dir_fd=place))
    member.pax_headers = {**attributes, "mtime": decimal(status.st_mtime_ns)}
    return member
