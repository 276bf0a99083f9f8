"""One archive out of what several runs of tar write, of which each goes on where one died.

A tar that dies leaves half a member behind. `Splice` follows the stream, hands headers on only once
they are whole, and knows how much of a file's data is still to come: with as many zeros the next
run's first header lies where readers look for it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from forensics_core.storage.objects import Buffer
from forensics_core.tarindex.headers import (
    BLOCK,
    EXTENSIONS,
    name_in,
    number,
    padded,
    records,
)

MAX_HELD = 32 * 1024 * 1024
"""Bytes of one member's headers that are held back; with longer ones the stream is not followed."""
MAX_CARRIED = 64 * 1024
"""Bytes of them that move to the front of the next block."""
RECORD = 20 * BLOCK
"""An archive's length is a multiple of this, as by default. The longer records of a tar that writes
much at once end in so many zeros that readers which stop at the end would leave a pipe full."""
_ZEROS = bytes(1024 * 1024)
_KIND, _SIZE = 156 - BLOCK, slice(124 - BLOCK, 135 - BLOCK)
"""Where the last of a member's headers says of what type it is, and how long."""
_DIRECTORY = ord("5")
_WITHOUT_DATA = frozenset(b"123456")


class Splice:
    """Follows the stream of one archive."""

    def __init__(self, max_held: int = MAX_HELD) -> None:
        self._max_held = max_held
        self._held = bytearray()
        self._left = 0
        self._headers = b""
        self.repeated: frozenset[bytes] = frozenset()
        """Directories that are in the archive already and are to be left out."""
        self.ended = False
        """Whether the archive's end has passed."""
        self._passed = 0
        self._whole = 0
        self.lost = False
        """Whether the stream cannot be followed any more."""

    def feed(self, block: Buffer) -> Iterator[Buffer]:
        """Yield what may be handed on; of `block` no more than a header is copied."""
        view, start, at = memoryview(block), 0, 0
        while at < len(view) and not (self.ended or self.lost):
            if self._left:
                step = min(self._left, len(view) - at)
                self._left -= step
                at += step
                continue
            if self._held:
                at = start = yield from self._complete(view, at)
                continue
            end = at + _length(view, at)
            if end > len(view):
                yield from self._some(view[start:at])
                self._held += view[at:]
                return
            if self._begin(bytes(view[at:end])):
                yield from self._some(view[start:at])
                start = end
            at = end
        if self.ended and not self._whole:
            # The end is two blocks of zeros, of which one was seen.
            self._whole = -(-(self._passed + at - start + BLOCK) // RECORD) * RECORD
        yield from self._some(self._trimmed(view[start:]))

    def _trimmed(self, piece: memoryview) -> memoryview:
        """Return the last piece without the zeros that fill tar's last record."""
        room = max(self._whole - self._passed, 0)
        surplus = self.ended and not piece[room:].tobytes().strip(b"\0")
        return piece[:room] if surplus else piece

    def _some(self, piece: memoryview) -> Iterator[Buffer]:
        if len(piece):
            self._passed += len(piece)
            yield piece

    def carried(self) -> bytes:
        """Return headers that the last block had the first part of: the next is to begin with it.

        A block that goes on in one piece has not to be copied. Long ones are kept here.
        """
        if len(self._held) > MAX_CARRIED:
            return b""
        held, self._held = bytes(self._held), bytearray()
        return held

    def _complete(self, view: memoryview, at: int) -> Generator[Buffer, None, int]:
        """Add to the headers that are held back; return up to where `view` is used up."""
        while at < len(view):
            missing = _length(self._held, 0) - len(self._held)
            if missing <= 0 or len(self._held) > self._max_held:
                break
            step = min(missing, len(view) - at)
            self._held += view[at : at + step]
            at += step
        if len(self._held) > self._max_held:
            self.lost = True
        elif _length(self._held, 0) > len(self._held):
            return at
        headers = bytes(self._held)
        self._held = bytearray()
        if self.lost or not self._begin(headers):
            yield from self._some(memoryview(headers))
        return at

    def _begin(self, headers: bytes) -> bool:
        """Take in all headers of one member; return whether it is to be left out."""
        if not headers[-BLOCK] and not any(headers[-BLOCK:]):
            self.ended = True
            return False
        try:
            self._left = _stored(headers)
        except ValueError:
            self.lost = True
            return False
        self._headers = headers
        if not self.repeated or headers[_KIND] != _DIRECTORY:
            return False
        return self.last in self.repeated

    @property
    def last(self) -> bytes:
        """The name of the last member that has begun, without a slash at its end."""
        if not self._headers:
            return b""
        pax = _pax(self._headers)
        name = pax.get(b"GNU.sparse.name") or pax.get(b"path") or name_in(self._headers[-BLOCK:])
        return name.rstrip(b"/")

    def mend(self) -> Iterator[Buffer]:
        """Yield what makes the last member whole; half a header is forgotten."""
        self._held = bytearray()
        while self._left:
            step = min(self._left, len(_ZEROS))
            self._left -= step
            yield from self._some(memoryview(_ZEROS)[:step])

    @property
    def cut(self) -> int:
        """How many bytes are missing of the last member."""
        return self._left


def _length(data: Buffer | bytearray, at: int) -> int:
    """Return how long a member's headers are, or how much is needed to know."""
    end = at
    while True:
        block, end = end, end + BLOCK
        if end > len(data) or data[block + 156] not in EXTENSIONS:
            return end - at
        try:
            end += padded(int(bytes(data[block + 124 : block + 135]), 8))
        except ValueError:  # it is no header: whoever reads the archive says so
            return end - at


def _stored(headers: bytes) -> int:
    """Return how many bytes of data follow, with their padding."""
    if headers[_KIND] in _WITHOUT_DATA:
        return 0
    # Only a file of 8 GiB or more needs this record, and looking for it is cheap.
    size = _pax(headers).get(b"size") if b" size=" in headers else None
    return padded(int(size) if size else int(headers[_SIZE], 8))


def _pax(headers: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(headers) - BLOCK:
        size = number(headers[at : at + BLOCK], 124, 136)
        data = headers[at + BLOCK : at + BLOCK + size]
        if headers[at + 156] == ord("x"):
            found |= records(data)
        elif headers[at + 156] == ord("L"):
            found[b"path"] = data.rstrip(b"\0")
        at += BLOCK + padded(size)
    return found
