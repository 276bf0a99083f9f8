"""The members of an archive, moved into a folder of another one while they pass::

    mover = PathRewriter(b"[root]/")
    for block in blocks:
        out.write(mover.feed(block))

Only headers are made anew; content passes as it is. A member that has the path in its extended
header (pax) gets one with the longer path, and so do all others: paths of any length and bytes fit.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial

from anyio import to_thread

from forensics_core.errors import VerificationError
from forensics_core.tarindex.headers import (
    BLOCK,
    EXTENSIONS,
    MAX_EXTENSION,
    kind_of,
    name_in,
    number,
    padded,
    records,
    target_in,
)
from forensics_core.tarindex.member import make_member

_HARD_LINK = ord("1")
_SPARSE_NAME = b"GNU.sparse.name"


async def moved(
    blocks: AsyncIterator[bytes], folder: bytes, name: str
) -> AsyncGenerator[bytes, None]:
    """Yield an archive's records with its members in `folder`, which ends in `/`.

    `blocks` are whole records without the archive's end. Raises `VerificationError` for `name`.
    """
    mover = PathRewriter(folder)
    async for block in blocks:
        try:
            yield await to_thread.run_sync(partial(mover.feed, block))
        except ValueError as error:
            raise VerificationError(f"{name} is not a tar archive: {error}") from error


class PathRewriter:
    """Takes an archive's records, and gives them back with other paths."""

    def __init__(self, folder: bytes) -> None:
        self._folder = folder
        self._pass = 0
        """Bytes of content that go on as they are."""
        self._skip = 0
        """Bytes of an extended header that is too long to be one."""
        self._extension = bytearray()
        self._wanted = (0, 0, 0)
        """Type, length and length with padding of the extended header that is being read."""
        self._pax: dict[bytes, bytes] = {}
        self._defaults: dict[bytes, bytes] = {}

    def feed(self, block: bytes) -> bytes:
        """Take whole records. Raises `ValueError` for what is no archive."""
        out, at = bytearray(), 0
        while at < len(block):
            if self._pass:
                step = min(self._pass, len(block) - at)
                out += memoryview(block)[at : at + step]
                self._pass -= step
            elif self._skip:
                step = min(self._skip, len(block) - at)
                self._skip -= step
            elif self._wanted[2]:
                step = min(self._wanted[2] - len(self._extension), len(block) - at)
                self._extend(block[at : at + step])
            else:
                step = BLOCK
                out += self._header(block[at : at + BLOCK])
            at += step
        return bytes(out)

    def _extend(self, piece: bytes) -> None:
        self._extension += piece
        kind, size, whole = self._wanted
        if len(self._extension) < whole:
            return
        data = bytes(self._extension[:size])
        self._extension.clear()
        self._wanted = (0, 0, 0)
        if kind in b"xX":
            self._pax |= records(data)
        elif kind in b"g":
            self._defaults |= records(data)
        elif kind in b"LK":
            self._pax[b"path" if kind == ord("L") else b"linkpath"] = data.rstrip(b"\0")

    def _header(self, block: bytes) -> bytes:
        """Return what takes a header's place: nothing for one that is about the next."""
        kind = kind_of(block)
        if kind in EXTENSIONS:
            size = number(block, 124, 136)
            if size > MAX_EXTENSION:
                self._skip = padded(size)
            elif size > 0:
                self._wanted = kind, size, padded(size)
            return b""
        pax, self._pax = {**self._defaults, **self._pax}, {}
        self._pass = padded(make_member(block, pax, 0, 0).stored)
        path = self._within(pax.pop(b"path", b"") or name_in(block))
        # First, because of two names the last counts to some: a sparse file's own is the other one.
        pax = {b"path": path, **pax}
        if _SPARSE_NAME in pax:
            pax[_SPARSE_NAME] = self._within(pax[_SPARSE_NAME])
        if kind == _HARD_LINK:
            pax[b"linkpath"] = self._within(pax.get(b"linkpath") or target_in(block))
        return _extended(pax) + _renamed(block, path)

    def _within(self, path: bytes) -> bytes:
        parts = [part for part in path.split(b"/") if part not in (b"", b".")]
        ending = b"/" if path.endswith(b"/") and parts else b""
        return self._folder + b"/".join(parts) + ending


def _extended(pax: dict[bytes, bytes]) -> bytes:
    """Return an extended header with these records."""
    data = b"".join(_record(key, value) for key, value in pax.items())
    head = bytearray(BLOCK)
    head[:13] = b"././@PaxHeader"[:13]
    head[100:108], head[108:116], head[116:124] = b"0000000\0", b"0000000\0", b"0000000\0"
    head[124:136], head[136:148] = b"%011o\0" % len(data), b"%011o\0" % 0
    head[156:157], head[257:265] = b"x", b"ustar\x0000"
    return _summed(head) + data.ljust(padded(len(data)), b"\0")


def _record(key: bytes, value: bytes) -> bytes:
    """Return `LENGTH KEY=VALUE`, whose length counts its own digits."""
    length = len(key) + len(value) + 3
    digits = len(str(length))
    digits = len(str(length + digits))
    return b"%d %s=%s\n" % (length + digits, key, value)


def _renamed(block: bytes, path: bytes) -> bytes:
    """Return the header with the beginning of the path, for readers that know no pax."""
    head = bytearray(block)
    head[:100] = path[:100].ljust(100, b"\0")
    if block[262] == 0:
        head[345:500] = bytes(155)  # POSIX has the first part of a long name here
    return _summed(head)


def _summed(head: bytearray) -> bytes:
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)
