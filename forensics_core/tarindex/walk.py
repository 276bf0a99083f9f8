"""Finding the members of a tar archive in the blocks that pass, whatever the blocks' sizes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

from forensics_core.storage.objects import Buffer
from forensics_core.tarindex.headers import (
    BLOCK,
    EXTENSIONS,
    MAX_EXTENSION,
    NotTar,
    kind_of,
    number,
    padded,
    records,
)
from forensics_core.tarindex.member import Member, make_member
from forensics_core.tarindex.sparse import MAX_HOLES, SparseContent, SparseMap


class Hash(Protocol):
    """What of a `hashlib` object is used."""

    def update(self, data: memoryview, /) -> None:
        """Add bytes to what is hashed."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far."""
        ...


class MemberSink(Protocol):
    """Takes the data of members while it passes."""

    def begin(self, member: Member, places: SparseMap | None) -> None:
        """Expect data of a member; of a sparse file it is its pieces, whose places are given.

        `found` is called when there is no more of it.
        """
        ...

    def data(self, piece: memoryview) -> None:
        """Take the next bytes."""
        ...


class TarWalk:
    """Calls `found` with each member as soon as all of its data has passed."""

    def __init__(self, found: Callable[[Member], None], sink: MemberSink | None = None) -> None:
        self._found = found
        self._sink = sink
        self._position = 0
        self._start = -1
        self._unit = bytearray()
        self._wanted = BLOCK
        self._take: Callable[[bytes], None] = self._header
        self._extension = (0, 0)
        self._pax: dict[bytes, bytes] = {}
        self._defaults: dict[bytes, bytes] = {}
        self._member: Member | None = None
        self._map: SparseMap | None = None
        self._content: Hash | None = None
        self._stored: Hash | None = None
        self._holes = MAX_HOLES
        self._left = 0
        self._padding = 0
        self._unread = False
        self.ended = False
        """Whether the archive's end has passed: what follows is padding."""
        self.end = 0
        """Where it lies, once it has passed."""

    def feed(self, block: Buffer) -> None:
        """Take the next bytes. Raises `NotTar`, and `ValueError` for numbers that are none."""
        view = memoryview(block)
        before, at, end = self._position, 0, len(view)
        while at < end and not self.ended:
            if self._left:
                at += self._pass_data(view[at : at + self._left])
            elif self._padding:
                step = min(self._padding, end - at)
                self._padding -= step
                at += step
            elif not self._unit and at + self._wanted <= end:
                # Nearly always; here, as a call more for each header is a tenth of the walk.
                data = view[at : at + self._wanted].tobytes()
                at += self._wanted
                self._position = before + at
                self._take(data)
            else:
                missing = self._wanted - len(self._unit)
                at += self._collect(view[at : at + missing], missing, before + at)
        self._position = before + end

    def finish(self) -> None:
        """Report a member whose data was cut off, as such."""
        if self._member:
            self._member.truncated = True
            self._found(self._member)
            self._member = None

    def _collect(self, piece: memoryview, missing: int, position: int) -> int:
        """Hand a header, or what else comes as a whole, that is cut by the blocks' ends, on."""
        self._unit += piece
        taken = len(piece)
        if taken == missing:
            data = bytes(self._unit)
            self._unit.clear()
            self._position = position + taken
            self._take(data)
        return taken

    def _header(self, block: bytes) -> None:
        if not block[0] and not any(block):
            self.ended, self.end = True, self._position - BLOCK
            return
        kind = kind_of(block)
        if self._start < 0:
            self._start = self._position - BLOCK
        if kind in EXTENSIONS:
            self._await_extension(kind, number(block, 124, 136))
            return
        pax = {**self._defaults, **self._pax} if self._defaults else self._pax
        self._begin(make_member(block, pax, self._start, self._position))

    def _await_extension(self, kind: int, size: int) -> None:
        if size < 0:
            raise NotTar("a header has no size")
        if size > MAX_EXTENSION:
            # What it says is lost, and what follows is not.
            self._unread, self._padding = True, padded(size)
        elif size:
            self._extension = kind, size
            self._wanted, self._take = padded(size), self._extend

    def _extend(self, data: bytes) -> None:
        kind, size = self._extension
        self._wanted, self._take = BLOCK, self._header
        data = data[:size]
        if kind == ord("x") or kind == ord("X"):
            self._pax |= records(data)
        elif kind == ord("g"):
            self._defaults |= records(data)
        elif kind in b"LK":
            self._pax[b"path" if kind == ord("L") else b"linkpath"] = data.rstrip(b"\0")

    def _begin(self, member: Member) -> None:
        self._start, self._pax = -1, {}
        member.unread, self._unread = self._unread, False
        if member.sparse:
            self._member, self._map = member, SparseMap(member.size)
            self._take = self._read_map
            self._stored = hashlib.sha256()
        elif member.stored:
            self._member = member
            self._announce(member, None)
            self._await_data(member.stored)
        else:
            if member.kind == "file":
                member.sha256 = _NOTHING
            self._found(member)

    def _announce(self, member: Member, places: SparseMap | None) -> None:
        if self._sink:
            self._sink.begin(member, places)

    def _await_data(self, size: int) -> None:
        self._left, self._padding = size, -size % BLOCK

    def _read_map(self, block: bytes) -> None:
        member, places = self._member, self._map
        assert member and places and self._stored  # noqa: S101  # a map belongs to a member
        self._stored.update(memoryview(block))
        try:
            whole = places.feed(block)
            if whole:
                places.check(member.stored - places.length)
        except NotTar:
            # Its data has no place then: it is hashed as it is stored, and the next member counts.
            self._map = None
            self._announce(member, None)
            self._pass_map(member, places)
            return
        if whole:
            self._announce(member, places)
            self._content = self._content_of(places, member)
            self._pass_map(member, places)

    def _content_of(self, places: SparseMap, member: Member) -> SparseContent | None:
        """Return what hashes a sparse file, if there are not too many holes for it."""
        stored = member.stored - places.length
        if member.size - stored > self._holes:
            return None
        self._holes -= member.size - stored
        return SparseContent(places.pieces(), member.size)

    def _pass_map(self, member: Member, places: SparseMap) -> None:
        """Go on with the data behind the map."""
        self._take = self._header
        left = member.stored - places.length
        if left < 0:
            raise NotTar("a sparse file's map is longer than the file")
        self._await_data(left)
        if not left:
            self._complete(member)

    def _pass_data(self, data: memoryview) -> int:
        member = self._member
        assert member  # noqa: S101  # data belongs to a member
        if self._sink:
            self._sink.data(data)
        self._left -= len(data)
        if not self._left and self._content is None and not member.sparse:
            member.sha256 = hashlib.sha256(data).hexdigest()
            self._member = None
            self._found(member)
            return len(data)
        if self._content is None and not member.sparse:
            self._content = hashlib.sha256()
        for digest in (self._content, self._stored):
            if digest:
                digest.update(data)
        if not self._left:
            self._complete(member)
        return len(data)

    def _complete(self, member: Member) -> None:
        member.sha256 = self._content.hexdigest() if self._content else ""
        member.stored_sha256 = self._stored.hexdigest() if self._stored else ""
        self._member = self._content = self._stored = self._map = None
        self._found(member)


_NOTHING = hashlib.sha256().hexdigest()
