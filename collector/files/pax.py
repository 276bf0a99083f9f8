"""Members of a pax archive, made from open files: for what GNU tar cannot be pointed at.

A member's name is another one than the file's beneath its descriptor, and of many mounts there is
one archive.

Source: pax(1p), IEEE Std 1003.1
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

BLOCK = 512
END = bytes(2 * BLOCK)
"""What ends an archive."""
STEP = 1024 * 1024
"""Bytes of a file that are read at once."""
_NAME = 100
"""Bytes of a name, or a target, that a header block holds."""
_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}


def headers(
    name: bytes,
    found: os.stat_result,
    place: int,
    target: bytes = b"",
    *,
    bare: bool = False,
    stored: int | None = None,
    more: Mapping[bytes, bytes] | None = None,
) -> bytes:
    """Return the headers of a member `name`, as `./etc/hosts`; `place` is what it is of.

    `target` makes it another name of the member `target`; a `bare` one has no attributes. `stored`
    are the bytes of its data, where they are not all that the file has; `more` are further records.
    A socket has none: empty. Raises `OSError` where an attribute is there and cannot be read.
    """
    kind = _TYPES.get(stat.S_IFMT(found.st_mode))
    if kind is None:
        return b""
    size = found.st_size if kind == tarfile.REGTYPE and not target else 0
    size = size if stored is None else stored
    records = _records(name, found)
    # Of a sparse file Python takes the record for the size with its holes, and loses its way.
    if stored is None or stored >= 8**11:
        records += _record(b"size", b"%d" % size)
    records += b"".join(_record(key, value) for key, value in (more or {}).items())
    if target:
        kind = tarfile.LNKTYPE
        records += _record(b"linkpath", target)
    elif kind == tarfile.SYMTYPE:
        records += _record(b"linkpath", os.readlink(b"", dir_fd=place))
    records += b"".join(
        _record(b"SCHILY.xattr." + escaped(key), value)
        for key, value in ([] if bare else attributes(place))
    )
    head = _block(b"./PaxHeaders/member", tarfile.XHDTYPE, len(records))
    return head + records + padding(len(records)) + _block(name, kind, size, found)


def plain(
    name: bytes,
    kind: bytes,
    size: int = 0,
    *,
    mode: int = 0o444,
    owner: tuple[int, int] = (0, 0),
    mtime: int = 0,
    target: bytes = b"",
) -> bytes:
    """Return the headers of a member that is of no file: one of `tarfile`'s types.

    Only what does not fit into the one block has records before it.
    """
    records = b"".join(
        _record(key, value)
        for key, value, fits in (
            (b"path", name, len(name) <= _NAME and name.isascii()),
            (b"linkpath", target, len(target) <= _NAME and target.isascii()),
            (b"size", b"%d" % size, size < 8**11),
            (b"uid", b"%d" % owner[0], owner[0] < 8**7),
            (b"gid", b"%d" % owner[1], owner[1] < 8**7),
        )
        if not fits
    )
    ids = (min(number, 8**7 - 1) for number in owner)
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, *ids, min(size, 8**11 - 1), mtime)
    begin = name[:_NAME].ljust(_NAME, b"\0") + numbers
    end = kind + target[:_NAME].ljust(_NAME, b"\0") + b"ustar\x0000"
    total = sum(begin) + sum(end) + 8 * ord(" ")
    block = (begin + b"%06o\0 " % total + end).ljust(BLOCK, b"\0")
    if not records:
        return block
    head = _block(b"./PaxHeaders/member", tarfile.XHDTYPE, len(records))
    return head + records + padding(len(records)) + block


def _records(name: bytes, found: os.stat_result) -> bytes:
    said = {
        b"path": name,
        b"uid": b"%d" % found.st_uid,
        b"gid": b"%d" % found.st_gid,
        b"mtime": _seconds(found.st_mtime_ns),
        b"atime": _seconds(found.st_atime_ns),
        b"ctime": _seconds(found.st_ctime_ns),
    }
    return b"".join(_record(key, value) for key, value in said.items())


def _record(key: bytes, value: bytes) -> bytes:
    """Return `LENGTH KEY=VALUE`, where the length counts its own digits."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while length != len(b"%d" % length) + len(rest):
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest


def _block(name: bytes, kind: bytes, size: int, found: os.stat_result | None = None) -> bytes:
    """Return a header block; what does not fit into it is in the records before it."""
    info = tarfile.TarInfo(name[:90].decode("ascii", "replace").replace("\ufffd", "_"))
    info.type, info.size = kind, min(size, 8**11 - 1)
    if found:
        info.mode = stat.S_IMODE(found.st_mode)
        info.uid, info.gid = min(found.st_uid, 8**7 - 1), min(found.st_gid, 8**7 - 1)
        info.mtime = min(max(int(found.st_mtime), 0), 8**11 - 1)
        info.devmajor, info.devminor = os.major(found.st_rdev), os.minor(found.st_rdev)
    return info.tobuf(tarfile.USTAR_FORMAT)


def padding(size: int) -> bytes:
    """Return the zeros that fill the last block of `size` bytes."""
    return bytes(-size % BLOCK)


def attributes(place: int) -> list[tuple[bytes, bytes]]:
    """Return the extended attributes of what a descriptor stands for, be it a symbolic link.

    The kernel follows the descriptor, and not the link that it stands for. Raises `OSError`.
    """
    path = f"/proc/self/fd/{place}"
    found = list[tuple[bytes, bytes]]()
    with _allowing(errno.EOPNOTSUPP):
        for name in map(os.fsencode, os.listxattr(path)):
            with _allowing(errno.ENODATA):  # it is gone by now
                found.append((name, os.getxattr(path, name)))
    return found


def escaped(name: bytes) -> bytes:
    """Return an attribute's name as GNU tar writes it: an equals sign would end it."""
    return name.replace(b"%", b"%25").replace(b"=", b"%3D")


@contextmanager
def _allowing(code: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != code:
            raise


def _seconds(nanoseconds: int) -> bytes:
    """Return seconds as GNU tar writes them: no zeros at the end."""
    sign, rest = b"-" if nanoseconds < 0 else b"", abs(nanoseconds)
    return sign + (b"%d.%09d" % divmod(rest, 10**9)).rstrip(b"0").rstrip(b".")
