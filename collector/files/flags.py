"""Attributes of a file as `chattr` sets them, and its project, for the list of changes.

An overlay keeps two of them, those that forbid changes, in an extended attribute of its layer.

Source: ioctl_iflags(2), ioctl_xfs_fsgetxattr(2), fs/overlayfs/util.c
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import sys
from dataclasses import dataclass
from typing import Any

from collector.files.safe_open import attribute, open_data, open_folder, opened

# Its number is made with the size of a long, though the kernel writes an int.
_GETFLAGS = struct.calcsize("l") << 16 | 0x80006601
_FSGETXATTR = 0x801C581F
# struct fsxattr, of which the project is the fourth number.
_PROJECT = struct.Struct("=12xI12x")
_NAMES = {
    0x00000001: "secureDelete",
    0x00000002: "undelete",
    0x00000004: "compressed",
    0x00000008: "sync",
    0x00000010: "immutable",
    0x00000020: "append",
    0x00000040: "nodump",
    0x00000080: "noatime",
    0x00000800: "encrypted",
    0x00004000: "journalData",
    0x00008000: "noTail",
    0x00010000: "dirSync",
    0x00020000: "topDirectory",
    0x00100000: "verity",
    0x00800000: "noCopyOnWrite",
    0x02000000: "dax",
    0x20000000: "projectInherit",
    0x40000000: "casefold",
}
"""Those that somebody sets; others say how a file system stores a file."""
_PROTECTED = {ord("i"): "immutable", ord("a"): "append"}
_SINCE_QUOTA = frozenset({"projectInherit"})
"""A runtime that limits the disk space of a container sets it on all directories."""


@dataclass(frozen=True, slots=True)
class Flags:
    """What `lsattr -p` would say."""

    names: frozenset[str] = frozenset()
    project: int = 0

    def differ(self, before: Flags) -> bool:
        """Whether somebody changed them, other than a runtime that limits disk space."""
        return bool((self.names ^ before.names) - _SINCE_QUOTA)

    def row(self) -> dict[str, Any]:
        """Return the fields of a row; none where there is nothing to say."""
        names = {"attributes": sorted(self.names)} if self.names else {}
        return {**names, "project": self.project} if self.project else names


def read_flags(place: int, marks: bytes) -> Flags:
    """Return the flags of the file or directory that a descriptor stands for.

    Other types have none. `marks` is how the overlay's own attributes begin. Raises `OSError`.
    """
    mode = os.fstat(place).st_mode
    if stat.S_ISDIR(mode):
        file = open_folder(place)
    elif stat.S_ISREG(mode):
        file = open_data(place)
    else:
        return Flags()
    with opened(file):
        own, extended = _ask(file, _GETFLAGS, 8), _ask(file, _FSGETXATTR, _PROJECT.size)
    return parse_flags(own, extended, attribute(place, marks + b"protattr") or b"")


def parse_flags(own: bytes, extended: bytes, protected: bytes) -> Flags:
    """Return the flags that two ioctls answered, and those that the overlay keeps itself."""
    bits = int.from_bytes(own[:4], sys.byteorder)
    (project,) = _PROJECT.unpack(extended)
    names = {name for bit, name in _NAMES.items() if bits & bit}
    names |= {_PROTECTED[letter] for letter in protected if letter in _PROTECTED}
    return Flags(frozenset(names), project)


def _ask(file: int, request: int, size: int) -> bytes:
    """Return the answer of an ioctl; zeros where the file system does not know it."""
    try:
        return fcntl.ioctl(file, request, bytes(size))
    except OSError:
        return bytes(size)
