"""One member of a tar archive, put together from its headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forensics_core.tarindex.headers import NotTar, known_number, name_in, number, target_in

# NUL is a file of before POSIX, 7 one that wants to lie in one piece: both are files.
_KINDS = {
    0: "file",
    ord("0"): "file",
    ord("1"): "hardlink",
    ord("2"): "symlink",
    ord("3"): "char",
    ord("4"): "block",
    ord("5"): "directory",
    ord("6"): "fifo",
    ord("7"): "file",
}
_WITHOUT_DATA = frozenset({"hardlink", "symlink", "char", "block", "directory", "fifo"})
_GNU_SPARSE = ord("S")
_ORDINARY = frozenset({b"mtime", b"atime", b"ctime"})
"""Records that an ordinary file has, and no others."""


@dataclass(slots=True)
class Member:
    """What the archive says of one file, whatever its type."""

    path: bytes
    """In the container, absolute."""
    kind: str
    """`file`, `directory`, `symlink`, `hardlink`, `char`, `block`, `fifo`; else `other`."""
    mode: int
    uid: int
    gid: int
    size: int
    """Bytes of the content, holes included."""
    mtime: str
    """Seconds since 1970 in decimal, as exact as the archive has them; so are the others."""
    atime: str = ""
    ctime: str = ""
    target: bytes = b""
    device: tuple[int, int] | None = None
    """Major and minor number."""
    xattrs: dict[bytes, bytes] | None = None
    acls: dict[bytes, bytes] | None = None
    """`access` and `default`, as text."""
    header: int = 0
    """Bytes before its first header in the archive."""
    data: int = 0
    """Bytes before its data in the archive."""
    stored: int = 0
    """Bytes of its data in the archive, the map of a sparse file included."""
    sparse: bool = False
    sha256: str = ""
    """Of the content; empty where there is none, or too many holes to hash."""
    stored_sha256: str = ""
    """Of a sparse file's data in the archive, its map included."""
    inode: tuple[int, int, int] | None = None
    """Its number, and the major and minor number of the file system that it is of."""
    btime: str = ""
    """When it was made, as exact as the other times."""
    changed: bool = False
    """Whether these three are of what lay there a moment later, when it had been changed."""
    attributes: list[str] | None = None
    """What `chattr` set, by name."""
    deleted: Mapping[str, Any] | None = None
    """Of a file that only processes still held: how, by whom, and what it was called."""
    truncated: bool = False
    """Whether the archive ends in the middle of it."""
    unread: bool = False
    """Whether its extended header was too long to read: its path, size and times may be wrong."""


def make_member(block: bytes, pax: dict[bytes, bytes], start: int, end: int) -> Member:
    """Return the member whose headers, the last of them `block`, lie from `start` to `end`.

    Raises `NotTar`, and `ValueError` for numbers that are none.
    """
    kind = _KINDS.get(block[156], "other")
    stored = 0 if kind in _WITHOUT_DATA else _size(block, pax)
    member = Member(
        path=absolute(pax.get(b"path") or name_in(block)),
        kind=kind,
        mode=known_number(block[100:108]) & 0o7777,
        uid=int(pax[b"uid"]) if b"uid" in pax else known_number(block[108:116]),
        gid=int(pax[b"gid"]) if b"gid" in pax else known_number(block[116:124]),
        size=stored,
        mtime=(pax.get(b"mtime") or b"%d" % number(block, 136, 148)).decode("ascii"),
        atime=pax.get(b"atime", b"").decode("ascii"),
        ctime=pax.get(b"ctime", b"").decode("ascii"),
        header=start,
        data=end,
        stored=stored,
    )
    if kind != "file" or not pax.keys() <= _ORDINARY:
        _add_details(member, block, pax)
    return member


def _size(block: bytes, pax: dict[bytes, bytes]) -> int:
    size = int(pax[b"size"]) if b"size" in pax else number(block, 124, 136)
    if size < 0 or block[156] == _GNU_SPARSE:
        raise NotTar("a member is of a kind that this release cannot read")
    return size


def _add_details(member: Member, block: bytes, pax: dict[bytes, bytes]) -> None:
    """Add what ordinary files do not have."""
    if member.kind == "symlink":
        member.target = pax.get(b"linkpath") or target_in(block)
    # A hard link names another member, where a symbolic link may say anything.
    elif member.kind == "hardlink":
        member.target = absolute(pax.get(b"linkpath") or target_in(block))
    elif member.kind in {"char", "block"}:
        member.device = number(block, 329, 337), number(block, 337, 345)
    xattrs = _named(pax, b"SCHILY.xattr.") or {}
    member.xattrs = {_keyword(name): xattrs[name] for name in xattrs} or None
    member.acls = _named(pax, b"SCHILY.acl.")
    if b"GNU.sparse.realsize" in pax or b"GNU.sparse.size" in pax:
        _add_sparse(member, pax)


def _named(pax: dict[bytes, bytes], prefix: bytes) -> dict[bytes, bytes] | None:
    start = len(prefix)
    return {key[start:]: pax[key] for key in pax if key.startswith(prefix)} or None


def _keyword(name: bytes) -> bytes:
    """Return a name as it is, of which GNU tar spells two characters otherwise."""
    return name.replace(b"%3D", b"=").replace(b"%25", b"%")


def _add_sparse(member: Member, pax: dict[bytes, bytes]) -> None:
    if pax.get(b"GNU.sparse.major") != b"1":
        raise NotTar("a sparse file has a map of a format that this release cannot read")
    member.sparse = True
    member.size = int(pax[b"GNU.sparse.realsize"])
    member.path = absolute(pax.get(b"GNU.sparse.name", member.path))


def absolute(name: bytes) -> bytes:
    """Return a member's name as the path in the container: `/etc/passwd` of `./etc/passwd`."""
    if name.startswith(b"./"):
        name = name[1:]
    elif name == b".":
        name = b"/"
    elif not name.startswith(b"/"):
        name = b"/" + name
    return name.rstrip(b"/") or b"/"
