"""Any tree: whatever a file system of Linux can hold, made at random."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

ODD = (b"line\nbreak", b"\x1b[31mred", b"not-utf8-\xff\xfe", b"-rf ~", b'q"\\: x', b"x" * 255)
LONGEST = 3_500
"""Bytes of a path: GNU tar extracts by whole paths, of which the kernel takes 4,095."""
DEEPEST = 10
HOLE = 64 * 1024
NET_BIND = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
HOLDERS = {"user": {stat.S_IFREG, stat.S_IFDIR}}
"""Which types may have attributes of a namespace, where not all may."""

Maker = Callable[[Path, Sequence[Path]], None]
"""Makes a file, given its path, and the paths of what is no directory so far."""


@dataclass(frozen=True)
class Attributes:
    """What else a file has."""

    mode: int
    owner: tuple[int, int]
    mtime: int
    atime: int
    xattrs: tuple[tuple[str, bytes], ...]
    acl: bytes
    """As the kernel keeps it; empty for none."""
    capable: bool
    """Whether it may bind low ports, if it is a program."""


@dataclass(frozen=True)
class Entry:
    """One file to be made."""

    name: bytes
    place: int
    """The number of the directory that it goes to, of those made so far."""
    make: Maker
    attributes: Attributes


def access_list(user: int, group: int, bits: int) -> bytes:
    """Return an access list for one more user and one more group.

    Source: https://github.com/torvalds/linux/blob/master/include/uapi/linux/posix_acl_xattr.h
    """
    nobody = 0xFFFFFFFF
    rows = [(1, 6, nobody), (2, bits, user), (4, 4, nobody), (8, bits, group), (16, 7, nobody)]
    rows.append((32, 0, nobody))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)


def _regular(pieces: Iterable[tuple[int, bytes]], hole_at_the_end: int) -> Maker:
    """Data with holes before, between and behind it."""

    def make(path: Path, _: Sequence[Path]) -> None:
        with path.open("wb") as file:
            for hole, data in pieces:
                file.seek(hole * HOLE, os.SEEK_CUR)
                file.write(data)
            file.truncate(file.tell() + hole_at_the_end * HOLE)

    return make


def _directories(levels: int) -> Maker:
    """One in the other."""
    return lambda path, _: path.joinpath(*["d" * 250] * (levels - 1)).mkdir(parents=True)


def _link(number: int) -> Maker:
    """Another name of something that is there; of nothing, if there is nothing."""

    def make(path: Path, others: Sequence[Path]) -> None:
        if others:
            os.link(others[number % len(others)], path, follow_symlinks=False)

    return make


def _special(kind: int, major: int, minor: int) -> Maker:
    return lambda path, _: os.mknod(path, kind | 0o600, os.makedev(major, minor))


def _symlink(target: bytes) -> Maker:
    return lambda path, _: path.symlink_to(os.fsdecode(target))


names = st.one_of(
    st.sampled_from(ODD),
    st.binary(min_size=1, max_size=60).filter(
        lambda name: not set(name) & {0, 47} and name not in {b".", b".."}
    ),
)
_pieces = st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=5000)), max_size=4)
makers: st.SearchStrategy[Maker] = st.one_of(
    st.builds(_regular, _pieces, st.integers(0, 2)),
    st.builds(_directories, st.sampled_from([1, 1, 1, DEEPEST])),
    st.builds(_symlink, st.one_of(names, st.just(b"t" * 1000))),
    st.builds(_link, st.integers(0, 20)),
    st.builds(
        _special,
        st.sampled_from([stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK]),
        st.integers(1, 4095),
        st.integers(0, 2**20 - 1),
    ),
)
_times = st.integers((-(2**31) + 1) * 10**9, 2**33 * 10**9)
_ids = st.sampled_from([0, 1, 1000, 65534, 0o7777777 + 1, 2**32 - 2])
_values = st.binary(max_size=100)
_xattrs = st.dictionaries(
    st.sampled_from(
        ["user.origin", "user.a=b%c", "user.tab\t\n", "trusted.overlay.x", "security.any"]
    ),
    _values,
    max_size=3,
).map(lambda pairs: tuple(pairs.items()))
_acls = st.one_of(st.just(b""), st.just(b""), st.builds(access_list, _ids, _ids, st.integers(0, 7)))
attributes = st.builds(
    Attributes,
    mode=st.integers(0, 0o7777),
    owner=st.tuples(_ids, _ids),
    mtime=_times,
    atime=_times,
    xattrs=_xattrs,
    acl=_acls,
    capable=st.booleans(),
)
entries = st.builds(Entry, name=names, place=st.integers(0, 20), make=makers, attributes=attributes)


def make_tree(folder: Path, own: Attributes, members: Iterable[Entry]) -> None:
    """Make the folder and all that is in it; nothing is furnished before all of it is there."""
    folder.mkdir()
    directories, others = [folder], list[Path]()
    made = [(folder, own)]
    for entry in members:
        path = directories[entry.place % len(directories)] / os.fsdecode(entry.name)
        if os.path.lexists(path) or len(os.fsencode(path)) > LONGEST - DEEPEST * 251:
            continue
        entry.make(path, others)
        if not path.is_symlink() and path.is_dir():
            directories += [path, *path.rglob("*")]
        elif os.path.lexists(path):
            others.append(path)
        made.append((path, entry.attributes))
    for path, its in reversed(made):
        if os.path.lexists(path):
            furnish(path, its)


def furnish(path: Path, its: Attributes) -> None:
    """Give a file the attributes that its type may have."""
    kind = stat.S_IFMT(path.lstat().st_mode)
    os.chown(path, *its.owner, follow_symlinks=False)
    if kind != stat.S_IFLNK:
        path.chmod(its.mode)
        if its.acl:
            os.setxattr(path, "system.posix_acl_access", its.acl)
        if its.acl and kind == stat.S_IFDIR:
            os.setxattr(path, "system.posix_acl_default", its.acl)
    for name, value in its.xattrs:
        if kind in HOLDERS.get(name.partition(".")[0], {kind}):
            os.setxattr(path, name, value, follow_symlinks=False)
    if its.capable and kind == stat.S_IFREG:
        os.setxattr(path, "security.capability", NET_BIND)
    os.utime(path, ns=(its.atime, its.mtime), follow_symlinks=False)
