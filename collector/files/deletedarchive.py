"""`deleted.tar`: a pax archive of files that have no name any more, each once.

::

    archive = DeletedArchive(room=1024**3)
    async for block in archive.blocks(files): ...

A member is called by the first process that holds it, and where: `1234/exe`, `1234/fd/5`,
`1234/map_files/7f..-7f..`, `1234/sysvipc/0`. What else is known of it is JSON in the record
`comment`, which every reader of tar archives passes over, and in its row of the index.

A file may be on a file system that never answers. Each step is therefore taken in a thread of its
own that is left behind if need be; of a member that is begun by then the rest is zeros.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeVar

from collector.documents import portable
from collector.files import pax, sparse
from collector.files.safe_open import open_data
from collector.files.sockets import decimal
from collector.node import silent
from collector.node.abandonable import AbandonedThreads, run_abandonable
from collector.node.deletedfiles import DeletedFile, SharedDescriptor
from collector.node.programs import Programs
from collector.runtimes.runtime import Unavailable
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import SourceNotes
from forensics_core.tarindex.member import Member
from forensics_core.tarindex.sparse import Piece

T = TypeVar("T")

STEP_TIMEOUT = 10.0
"""Seconds that one step, a megabyte at most, may take."""


@dataclass(slots=True)
class DeletedFilesPlan:
    """What becomes of the deleted files that the processes of one container hold."""

    archived: list[DeletedFile] = field(default_factory=list)
    """Those that are to be in the archive, the smallest first."""
    over: list[DeletedFile] = field(default_factory=list)
    """Those that there is no room for."""
    members: dict[int, dict[str, str]] = field(default_factory=dict)
    """By process: what it holds where, and what that is called in the archive."""
    programs: Programs = field(default_factory=Programs)
    """What is known of their content."""


@dataclass(frozen=True, slots=True)
class DeletedFileLoss:
    """Why a file is not in the archive, or not as it was."""

    reason: str
    message: str


@dataclass(slots=True)
class _OpenFile:
    """One file, open."""

    file: SharedDescriptor
    found: os.stat_result
    pieces: list[Piece]
    head: bytes
    body: bytes | None = None
    """All of its data, of a small file: read in the same step, for there may be thousands."""
    after: os.stat_result | None = None
    """What it was when it had been read."""


@dataclass
class DeletedArchive:
    """The archive under way."""

    room: int
    """Bytes of data that it may still take."""
    seconds: float = STEP_TIMEOUT
    small: int = pax.STEP
    """Bytes up to which a file is read in the same step that opens it."""
    losses: dict[str, DeletedFileLoss] = field(default_factory=dict)
    """Files that are missing, or zeros in part, by their names in the archive."""
    notes: SourceNotes = field(default_factory=SourceNotes)
    """Members that were written to while they were read, or end in zeros."""
    done: set[str] = field(default_factory=set)
    """Files whose turn came, whatever became of them."""
    facts: dict[bytes, tuple[DeletedFile, dict[str, Any]]] = field(default_factory=dict)
    """What the index adds to a row, by path."""
    _folders: set[PurePosixPath] = field(default_factory=set)
    _stuck: set[tuple[int, int]] = field(default_factory=set)
    """File systems that do not answer."""
    _left_behind: AbandonedThreads = field(default_factory=AbandonedThreads)

    async def blocks(self, files: Sequence[DeletedFile]) -> AsyncIterator[bytes]:
        """Yield the archive."""
        for file in files:
            yield self._above(file.member)
            async for block in self._file(file):
                yield block
            self.done.add(file.member)
            if file.member not in self.losses:
                file.file = None
        yield pax.END

    def _above(self, name: str) -> bytes:
        """Return the directories of /proc that a name lies in, each once."""
        found = b""
        for folder in reversed(PurePosixPath(name).parents):
            if folder not in self._folders:
                self._folders.add(folder)
                member = tarfile.TarInfo(f"./{folder}".removesuffix("/."))
                member.type, member.mode = tarfile.DIRTYPE, 0o555
                found += member.tobuf(tarfile.USTAR_FORMAT)
        return found

    async def _file(self, file: DeletedFile) -> AsyncIterator[bytes]:
        member = await self._begin(file)
        if member is None:
            return
        self.room -= sparse.total(member.pieces)
        yield member.head
        if member.body is None:
            for offset, length in sparse.steps(member.pieces):
                yield await self._read(file, member, offset, length)
            await self._look_again(file, member)
        else:
            yield member.body
        yield pax.padding(sparse.total(member.pieces))
        found, after = member.found, member.after
        if after and (after.st_size, after.st_mtime_ns) != (found.st_size, found.st_mtime_ns):
            self.notes.flags.add(Flag.CHANGED_WHILE_READ)
            more = after.st_size - found.st_size
            how = f"it grew by {more} bytes" if more > 0 else f"it became {-more} bytes shorter"
            self.notes.remark(file.member, how if more else "it was written to")

    async def _begin(self, file: DeletedFile) -> _OpenFile | None:
        """Open a file; note why if it is not to be."""
        if file.silent:
            self._lose(file, "Hung", silent.WHY)
            return None
        if file.status.device in self._stuck:
            self._lose(file, "Hung", "its file system does not answer")
            return None
        try:
            member = await self._in_time(file, self._open, file)
        except (Unavailable, OSError) as error:
            self._fail(file, error)
            return None
        if (data := sparse.total(member.pieces)) > self.room:
            self._lose(file, "TooLarge", f"it has {data} bytes, and there is room for {self.room}")
            return None
        return member

    def _open(self, file: DeletedFile) -> _OpenFile:
        """Do it in this thread. Raises `OSError`."""
        if file.file is None:
            raise FileNotFoundError(file.member)
        data = SharedDescriptor(open_data(file.file.number))
        found = os.fstat(data.number)
        pieces = sparse.data_pieces(data.number, found.st_size)
        facts = describe(file)
        path = b"./" + os.fsencode(file.member)
        self.facts[path[1:]] = file, facts
        more = {b"comment": json.dumps(facts, ensure_ascii=False).encode()}
        try:
            head = sparse.member(path, found, data.number, pieces, more)
        except OSError:
            head = sparse.member(path, found, data.number, pieces, more, bare=True)
        member = _OpenFile(data, found, pieces, head)
        if sparse.total(pieces) <= min(self.small, self.room):
            with suppress(OSError):  # then as much of it as can be read is read step by step
                parts = (sparse.read(data.number, *piece) for piece in pieces)
                member.body, member.after = b"".join(parts), os.fstat(data.number)
        return member

    async def _read(self, file: DeletedFile, member: _OpenFile, offset: int, length: int) -> bytes:
        """Return that many bytes, zeros in the place of what cannot be read."""
        block = b""
        # Of one that failed, nothing more is asked for.
        if file.member not in self.losses:
            try:
                block = await self._in_time(file, sparse.read, member.file.number, offset, length)
            except (Unavailable, OSError) as error:
                self._fail(file, error)
                self.notes.flags.add(Flag.TRUNCATED)
                self.notes.remark(file.member, f"zeros from byte {offset} on: {error}")
        return block.ljust(length, b"\0")

    async def _look_again(self, file: DeletedFile, member: _OpenFile) -> None:
        if file.member not in self.losses:
            with suppress(Unavailable, OSError):
                member.after = await self._in_time(file, os.fstat, member.file.number)

    async def _in_time(self, file: DeletedFile, action: Callable[..., T], *arguments: object) -> T:
        return await run_abandonable(
            self.seconds, file.member, action, *arguments, abandoned=self._left_behind
        )

    def _fail(self, file: DeletedFile, error: Exception) -> None:
        if isinstance(error, Unavailable):
            self._stuck.add(file.status.device)
            self._lose(file, error.reason, str(error))
        else:
            self._lose(file, "Unreadable", str(error))

    def _lose(self, file: DeletedFile, reason: str, message: str) -> None:
        self.losses[file.member] = DeletedFileLoss(reason, message)

    def enrich(self, member: Member) -> None:
        """Add to a member of the index what no archive holds."""
        if member.path not in self.facts:
            return
        file, member.deleted = self.facts.pop(member.path)
        member.inode = file.status.inode, *file.status.device
        if file.status.birth:
            member.btime = decimal(file.status.birth)


def describe(file: DeletedFile) -> dict[str, Any]:
    """Return what is known of a file: how it was held, by whom, and what it was called."""
    holders = [
        {
            "pid": hold.pid,
            "place": hold.place,
            **({} if hold.position is None else {"position": hold.position}),
            **({"flags": hold.flags} if hold.flags else {}),
        }
        for hold in file.holds
    ]
    return {
        "how": file.how,
        "originalPath": portable(file.path),
        "holders": holders,
        "holdersTotal": file.holders,
    } | file.facts
