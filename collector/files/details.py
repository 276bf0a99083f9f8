"""What the file system says of a file and no tar archive holds: for the rows of the index.

A row is made while the archive passes, so that nothing has to be remembered of any file: the
directory of the last one stays open, and one call of statx(2) tells inode, birth time and those
attributes of `chattr` that need no opening of the file.

Source: statx(2), include/uapi/linux/stat.h
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from collector.files.safe_open import open_strictly
from collector.files.sockets import whole_and_rest
from collector.files.statx import statx_function
from forensics_core.tarindex.member import Member

_FIELDS = struct.Struct("=I4xQ16xQ16xQ16xqI4xqI28xII")
"""Mask, attributes, inode, which attributes are known, birth, change, major, minor."""
_BASIC, _BIRTH = 0x7FF, 0x800
_AT_SYMLINK_NOFOLLOW, _AT_EMPTY_PATH, _AT_STATX_DONT_SYNC = 0x100, 0x1000, 0x4000
_FLAGS = _AT_SYMLINK_NOFOLLOW | _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC
_WANTED = _BASIC | _BIRTH
MAX_OPEN = 16
"""Directories that stay open, each in the one before: an archive comes back to them."""
ATTRIBUTES = {
    0x000004: "compressed",
    0x000010: "immutable",
    0x000020: "append",
    0x000040: "nodump",
    0x000800: "encrypted",
    0x100000: "verity",
    0x200000: "dax",
}
"""Their names are those of `collector.files.flags`."""


class Details:
    """Adds what is known of each member; to be closed. Called in one thread at a time."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._folder: bytes | None = None
        self._place = -1
        self._above: list[tuple[bytes, int]] = []
        self._statx = statx_function()
        self._buffer = ctypes.create_string_buffer(256)
        self._address = ctypes.addressof(self._buffer)
        self.missed = 0
        """Members that were gone by the time that they were asked about."""
        self.changed = 0
        """Members that were changed, or became something else, before that."""

    def add(self, member: Member) -> None:
        """Add inode, device, birth time and attributes of what lies at its path."""
        folder, _, name = member.path.rpartition(b"/")
        if folder != self._folder:
            self._enter(folder)
        if self._place < 0 or not self._ask(name):
            self.missed += 1
            return
        self._note(member)

    def _note(self, member: Member) -> None:
        mask, attributes, inode, _, *times, major, minor = _FIELDS.unpack_from(self._buffer)
        birth, birth_rest, change, change_rest = times
        changed = whole_and_rest(change, change_rest)
        if member.ctime and changed != member.ctime:
            # Most likely the same file, written to: that is worth more than nothing.
            member.changed = True
            self.changed += 1
        member.inode = inode, major, minor
        if mask & _BIRTH:
            # Of what was unpacked, and left alone since, nearly always the same.
            same = birth == change and birth_rest == change_rest
            member.btime = changed if same else whole_and_rest(birth, birth_rest)
        if attributes:
            member.attributes = [name for bit, name in ATTRIBUTES.items() if attributes & bit]

    def _ask(self, name: bytes) -> bool:
        statx = self._statx
        return bool(statx) and not statx(self._place, name, _FLAGS, _WANTED, self._address)

    def _enter(self, folder: bytes) -> None:
        """Go to a directory: from one that lies in it back to the one that is still open."""
        while self._above and not _is_within(folder, self._above[-1][0]):
            self._leave()
        if not self._above or self._above[-1][0] != folder:
            self._open(folder)
        self._folder, self._place = folder, self._above[-1][1] if self._above else -1

    def _open(self, folder: bytes) -> None:
        if len(self._above) == MAX_OPEN:
            self.close()
        with suppress(OSError):
            self._above.append((folder, open_strictly(self._root, folder[1:], _PLACE)))
            return
        # What lies above stays behind: nothing beneath this one may be looked for there.
        self.close()

    def _leave(self) -> None:
        os.close(self._above.pop()[1])

    def close(self) -> None:
        """Close the directory of the last member, and those above it."""
        while self._above:
            self._leave()
        self._folder, self._place = None, -1


def _is_within(folder: bytes, above: bytes) -> bool:
    return folder == above or folder.startswith(above + b"/")


@asynccontextmanager
async def detailed(root: int) -> AsyncIterator[Details]:
    """Ask about the members of the file system whose root is open; close all with the block."""
    details = Details(root)
    try:
        yield details
    finally:
        details.close()


_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
