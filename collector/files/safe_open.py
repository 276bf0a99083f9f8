"""Opening files of a tree that may be hostile: nothing outside of it is ever reached.

Access times stay as they are, so that they go on telling when somebody else read: whatever is
opened here for reading is opened with `O_NOATIME`, where the kernel lets this process.

Source: openat2(2), open(2)
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

_OPENAT2, _OPEN_TREE = 437, 428
_OPEN_TREE_CLONE, _AT_EMPTY_PATH = 0x1, 0x1000
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH, _IN_ROOT = 0x01, 0x02, 0x04, 0x08, 0x10
_RACES = 64
"""Times that the kernel may find the tree moving under a path before we give up."""
_MAX_PATH = 4000
"""Bytes of a path that the kernel takes at once."""

PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
"""A place in the tree, without opening what is there."""
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A lease on the file would else have us wait until its holder gives it up.
DATA = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


def open_in_root(root: int, path: bytes | str, flags: int = os.O_PATH | os.O_CLOEXEC) -> int:
    """Open `path` as if the directory `root` were `/`: links, absolute ones too, stay inside.

    Raises `OSError`.
    """
    return _openat2(root, os.fsencode(path), flags, _IN_ROOT | _NO_MAGICLINKS)


def open_strictly(
    root: int, path: bytes, flags: int = FOLDER, *, on_one_mount: bool = False
) -> int:
    """Open `path`, relative to `root` and of any length, where no part of it may be a link.

    Raises `OSError`: `ELOOP` for a link, `EXDEV` for a way out, or onto another mount where that
    is not wanted.
    """
    resolve = _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS | (_NO_XDEV if on_one_mount else 0)
    if len(path) <= _MAX_PATH:
        return _openat2(root, path or b".", flags, resolve)
    folder, rest = os.dup(root), path
    try:
        while len(rest) > _MAX_PATH:
            cut = rest.rindex(b"/", 0, _MAX_PATH)
            inner = _openat2(folder, rest[:cut], FOLDER, resolve)
            os.close(folder)
            folder, rest = inner, rest[cut + 1 :]
        return _openat2(folder, rest, flags, resolve)
    finally:
        os.close(folder)


def open_member(folder: int, name: bytes, flags: int = PLACE) -> int:
    """Open what is directly in a directory, on the same mount.

    Raises `OSError`: `ELOOP` for a link to be followed, `EXDEV` where something is mounted there.
    """
    return _openat2(folder, name, flags, _BENEATH | _NO_XDEV | _NO_SYMLINKS | _NO_MAGICLINKS)


def mount_number(descriptor: int) -> int:
    """Return the kernel's number of the mount that what is open lies on."""
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_bytes().split(b"\n")
    return next(int(line.split()[1]) for line in lines if line.startswith(b"mnt_id:"))


def clone_place(place: int) -> int:
    """Open the mount that a directory of our own mount namespace lies on, without those in it.

    Raises `OSError`, also where this process may not mount.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH
    result = _libc().syscall(
        *(ctypes.c_long(_OPEN_TREE), ctypes.c_long(place), ctypes.c_char_p(b"")),
        ctypes.c_long(flags),
    )
    if result < 0:
        raise OSError(ctypes.get_errno(), "open_tree: " + os.strerror(ctypes.get_errno()))
    return int(result)


@contextmanager
def opened(descriptor: int) -> Iterator[int]:
    """Close a descriptor with the block."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_data(place: int) -> int:
    """Open, for reading, the regular file that the `PLACE` descriptor stands for.

    Its access time is left alone where the kernel lets us. Raises `OSError` for anything else: a
    FIFO would block, and a device might act.
    """
    if not stat.S_ISREG(os.fstat(place).st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    return open_quietly(f"/proc/self/fd/{place}", DATA)


def open_folder(place: int) -> int:
    """Open, for listing, the directory that a descriptor stands for. Raises `OSError`."""
    return open_quietly(b".", FOLDER, place)


def open_quietly(path: bytes | str, flags: int, folder: int | None = None) -> int:
    """Open a path like `os.open`, its access time left alone. Raises `OSError`."""
    try:
        return os.open(path, flags | os.O_NOATIME, dir_fd=folder)
    except PermissionError:  # a stranger's file, and no CAP_FOWNER
        return os.open(path, flags, dir_fd=folder)


def attribute(place: int, name: bytes) -> bytes | None:
    """Return an extended attribute of what a descriptor stands for, or None."""
    try:
        return os.getxattr(f"/proc/self/fd/{place}", name)
    except OSError as error:
        if error.errno in {errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM}:
            return None
        raise


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@cache
def _openat2_function() -> Any:
    """Return `syscall` for this one call; there are libraries of C that have no name for it."""
    # A library of its own: what arguments a function takes is told once for each.
    function = ctypes.CDLL(None, use_errno=True).syscall
    # Each argument as a whole register: variadic arguments are not widened for us.
    function.argtypes = [
        *(ctypes.c_long, ctypes.c_long, ctypes.c_char_p),
        *(ctypes.c_char_p, ctypes.c_size_t),
    ]
    return function


def _openat2(folder: int, path: bytes, flags: int, resolve: int) -> int:
    if not flags & (os.O_PATH | os.O_NOATIME):
        with suppress(PermissionError):  # as in `open_quietly`
            return _openat2(folder, path, flags | os.O_NOATIME, resolve)
    call, how = _openat2_function(), struct.pack("=QQQ", flags, 0, resolve)
    for _ in range(_RACES):
        result = call(_OPENAT2, folder, path, how, len(how))
        if result >= 0:
            return int(result)
        code = ctypes.get_errno()
        # Something was renamed or mounted while the kernel made sure that the path stays inside.
        if code != errno.EAGAIN:
            break
    raise OSError(code, os.strerror(code), os.fsdecode(path))
