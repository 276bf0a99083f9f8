"""Members as lines of JSON, in chunks that are independent of each other."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from json.encoder import encode_basestring as quoted
from typing import NamedTuple

from forensics_core.tarindex import filecaps
from forensics_core.tarindex.lookup import PathFilter
from forensics_core.tarindex.member import Member

CHUNK = 512 * 1024
"""Bytes of rows, before compression, after which a chunk ends."""
MAX_XATTRS = 256 * 1024
"""Bytes of one member's extended attributes that its row holds; longer ones are only counted."""


class Chunk(NamedTuple):
    """Consecutive rows, and what a reader must know to find one of them."""

    data: bytes
    """JSON lines."""
    lookup: bytes
    """The chunk's own line of JSON in the lookup table."""


class RowWriter:
    """Collects rows until a chunk is full."""

    def __init__(self) -> None:
        self._rows: list[str] = []
        self._paths: list[bytes] = []
        self._size = 0
        self._full: list[Chunk] = []
        self.total = 0
        """Rows so far."""

    def add(self, member: Member) -> None:
        """Add a member's row."""
        row = encode(member)
        self._rows.append(row)
        self._paths.append(member.path)
        self._size += len(row)
        self.total += 1
        if self._size >= CHUNK:
            self._full.append(self._cut())

    def take(self) -> list[Chunk]:
        """Return the chunks that have become full, once."""
        chunks, self._full = self._full, []
        return chunks

    def take_rest(self) -> list[Chunk]:
        """Return everything that is left, full or not."""
        return [*self.take(), *([self._cut()] if self._rows else [])]

    def _cut(self) -> Chunk:
        data = "".join(self._rows).encode()
        entry = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "rows": len(self._rows),
            "filter": base64.b64encode(PathFilter.of(self._paths).bits).decode(),
        }
        self._rows, self._paths, self._size = [], [], 0
        return Chunk(data, json.dumps(entry).encode() + b"\n")


def encode(member: Member) -> str:
    """Return a member's row: one line of JSON, without what it does not have."""
    row = (
        f'{{"path":{value(member.path)},"type":"{member.kind}","mode":"{member.mode:04o}"'
        f',"uid":{member.uid},"gid":{member.gid},"size":{member.size},"mtime":{quoted(member.mtime)}'
        f',"atime":{quoted(member.atime)},"ctime":{quoted(member.ctime)}'
    )
    if member.sha256:
        row += f',"sha256":"{member.sha256}"'
    if member.inode:
        row += _origin(member, *member.inode)
    if member.kind != "file" or member.sparse or member.xattrs or member.acls:
        row += _details(member)
    if member.deleted:
        row += f',"deleted":{json.dumps(member.deleted, ensure_ascii=False)}'
    if member.truncated:
        row += ',"truncated":true'
    if member.unread:
        row += ',"headerUnread":true'
    if member.kind != "socket":
        row += f',"header":{member.header},"data":{member.data}'
    return row + "}\n"


def _origin(member: Member, number: int, major: int, minor: int) -> str:
    """Spell what the file system said and the archive does not hold."""
    more = f',"inode":{number},"dev":[{major},{minor}]'
    if member.btime:
        more += f',"btime":"{member.btime}"'
    if member.changed:
        more += ',"changedSince":true'
    if member.attributes:
        more += f',"attributes":{json.dumps(member.attributes)}'
    return more


def _details(member: Member) -> str:
    more = ""
    if member.kind == "symlink" or member.kind == "hardlink":
        more += f',"target":{value(member.target)}'
    if member.device:
        more += f',"device":[{member.device[0]},{member.device[1]}]'
    if member.xattrs:
        more += _xattrs(member.xattrs)
        if granted := member.xattrs.get(filecaps.ATTRIBUTE):
            more += f',"capabilities":{quoted(filecaps.decode(granted))}'
    if member.acls:
        more += f',"acl":{_object(member.acls)}'
    if member.sparse:
        more += f',"sparse":true,"stored":{member.stored},"storedSha256":"{member.stored_sha256}"'
    return more


def _xattrs(values: Mapping[bytes, bytes]) -> str:
    size = sum(map(len, values.values()))
    return f',"xattrs":{_object(values)}' if size <= MAX_XATTRS else f',"xattrsSize":{size}'


def value(data: bytes) -> str:
    """Return bytes as JSON that loses nothing.

    A string if they are UTF-8; else an object with `text`, where invalid bytes are spelled
    `\\xNN`, and `base64`, with the exact bytes.
    """
    try:
        return quoted(data.decode())
    except UnicodeDecodeError:
        exact = base64.b64encode(data).decode()
        return f'{{"text":{quoted(_readable(data))},"base64":"{exact}"}}'


def _readable(data: bytes) -> str:
    return data.decode(errors="backslashreplace")


def _object(values: Mapping[bytes, bytes]) -> str:
    pairs = (f"{quoted(_readable(name))}:{value(data)}" for name, data in values.items())
    return f"{{{','.join(pairs)}}}"
