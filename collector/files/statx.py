"""What the kernel knows of a file, without asking the file system anew: that might never answer.

::

    found = statx(descriptor)
    print(found.size, found.birth)

Source: statx(2), include/uapi/linux/stat.h
"""

from __future__ import annotations

import ctypes
import os
import struct
from functools import cache
from typing import Any, NamedTuple

_FIELDS = struct.Struct("=I12xIIIH2xQQQ8xqI4xqI4xqI4xqI4x8xII")
"""Mask, links, owner, group, mode, inode, size, blocks, the four times, device."""
_AT_SYMLINK_NOFOLLOW, _AT_EMPTY_PATH, _AT_STATX_DONT_SYNC = 0x100, 0x1000, 0x4000
_FLAGS = _AT_SYMLINK_NOFOLLOW | _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC
_BASIC, _BIRTH = 0x7FF, 0x800
_SECOND = 10**9


class Status(NamedTuple):
    """One file."""

    mode: int
    links: int
    size: int
    """Bytes, holes included."""
    blocks: int
    """Units of 512 bytes that are allocated."""
    inode: int
    device: tuple[int, int]
    """Major and minor number of the file system."""
    birth: int | None
    """When it was made, in nanoseconds since 1970; None where the file system does not say."""


def statx(place: int) -> Status:
    """Return what is known of what is open as `place`. Raises `OSError`."""
    function = statx_function()
    buffer = ctypes.create_string_buffer(256)
    if function is None:  # a C library that is older than the call
        return _of(os.fstat(place))
    if function(place, b"", _FLAGS, _BASIC | _BIRTH, buffer):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    mask, links, _, _, mode, inode, size, blocks, *times, major, minor = _FIELDS.unpack_from(buffer)
    birth = times[2] * _SECOND + times[3] if mask & _BIRTH else None
    return Status(mode, links, size, blocks, inode, (major, minor), birth)


def _of(found: os.stat_result) -> Status:
    device = os.major(found.st_dev), os.minor(found.st_dev)
    sizes = found.st_size, found.st_blocks
    return Status(found.st_mode, found.st_nlink, *sizes, found.st_ino, device, None)


@cache
def statx_function() -> Any:
    """Return the function of the C library; None where that is too old to have it."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)
    if function:
        numbers = ctypes.c_int, ctypes.c_uint
        function.argtypes = [numbers[0], ctypes.c_char_p, *numbers, ctypes.c_void_p]
    return function
