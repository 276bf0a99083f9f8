"""Sockets: a tar archive cannot hold them, so their rows in the index come from the node itself."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator

from collector.files.safe_open import PLACE, open_strictly, opened
from forensics_core.tarindex.member import Member, absolute

MAX_NAMES_SIZE = 8 * 1024 * 1024
"""Bytes of memory for names of sockets: some 80,000 of the usual length."""


class SocketNames:
    """Names in the order they came, as many as there is room for."""

    def __init__(self, room: int = MAX_NAMES_SIZE) -> None:
        self._names: list[bytes] = []
        self.room = room
        """Bytes of memory that further names may take."""

    def add(self, name: bytes) -> None:
        """Keep `name` if there is room."""
        size = sys.getsizeof(name)
        if size <= self.room:
            self.room -= size
            self._names.append(name)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._names)


def socket_members(root: int, names: Iterable[bytes]) -> Iterator[Member]:
    """Yield a member for each socket that is still there, by its name beneath `root`."""
    for name in names:
        path = absolute(name)
        try:
            with opened(open_strictly(root, path.lstrip(b"/"), PLACE)) as place:
                found = os.fstat(place)
        except OSError:
            continue
        if stat.S_ISSOCK(found.st_mode):
            yield socket_member(path, found)


def socket_member(path: bytes, found: os.stat_result) -> Member:
    """Return the index's row of a socket."""
    return Member(
        path=path,
        kind="socket",
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        size=0,
        mtime=decimal(found.st_mtime_ns),
        atime=decimal(found.st_atime_ns),
        ctime=decimal(found.st_ctime_ns),
    )


def decimal(nanoseconds: int) -> str:
    """Return seconds as GNU tar writes them: no zeros at the end."""
    sign, rest = "-" if nanoseconds < 0 else "", abs(nanoseconds)
    return f"{sign}{rest // 10**9}.{rest % 10**9:09}".rstrip("0").rstrip(".")


def whole_and_rest(seconds: int, nanoseconds: int) -> str:
    """Return a time of two fields, as the kernel has it, spelled in the same way."""
    if seconds < 0:
        return decimal(seconds * 10**9 + nanoseconds)
    return f"{seconds}.{nanoseconds:09}".rstrip("0").rstrip(".")
