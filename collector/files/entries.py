"""What is said of one file, directory or link: status and attributes, spelled for JSON."""

from __future__ import annotations

import base64
import errno
import os
import stat
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from collector.documents import readable
from collector.files.safe_open import attribute

EntryRow = dict[str, Any]
Attributes = dict[bytes, bytes]
"""Extended attributes, values by names."""

MAX_XATTRS = 64 * 1024
"""Bytes of attributes in one row; of more, only how many there are."""
_LABEL = b"security.selinux"
"""The runtime labels every container's files anew: it says nothing of what the container did."""
_TYPES: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "directory"),
    (stat.S_ISLNK, "symlink"),
    (stat.S_ISFIFO, "fifo"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "character"),
    (stat.S_ISBLK, "block"),
)


def describe(status: os.stat_result) -> EntryRow:
    """Return what stat(2) says."""
    row: EntryRow = {
        "type": kind_of(status),
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "uid": status.st_uid,
        "gid": status.st_gid,
        "size": status.st_size,
        "mtime": _time(status.st_mtime_ns),
        "ctime": _time(status.st_ctime_ns),
        "nlink": status.st_nlink,
    }
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        row["device"] = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return row


def kind_of(status: os.stat_result) -> str:
    """Return the word for a file's type."""
    return next((word for test, word in _TYPES if test(status.st_mode)), "unknown")


def spell(path: bytes) -> EntryRow:
    """Return `path`, and `raw` where it is no UTF-8; both with the slash in front."""
    whole = b"/" + path
    text = readable(whole)
    if text.encode() == whole:
        return {"path": text}
    return {"path": text, "raw": base64.b64encode(whole).decode()}


def attributes(place: int, marks: bytes) -> Attributes:
    """Return the attributes of what a descriptor stands for, without overlayfs's own `marks`.

    What the container itself set under such a name is kept escaped in a layer: here it has the name
    that the container sees. Raises `OSError`.
    """
    try:
        names = [os.fsencode(name) for name in os.listxattr(f"/proc/self/fd/{place}")]
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return {}
        raise
    # `trusted.overlay.overlay.x` is what a container set as `trusted.overlay.x`, since Linux 6.7.
    escaped = marks + b"overlay."
    told = {
        name.replace(escaped, marks, 1) if name.startswith(escaped) else name: attribute(
            place, name
        )
        for name in names
        if name != _LABEL and (name.startswith(escaped) or not name.startswith(marks))
    }
    return {name: value for name, value in told.items() if value is not None}


def spell_attributes(now: Attributes, before: Attributes, most: int = MAX_XATTRS) -> EntryRow:
    """Return the attributes that differ from `before`: base64, or null where one is gone.

    Of more than `most` bytes there is only how many they are.
    """
    changed: Mapping[bytes, bytes | None] = {
        name: now.get(name) for name in sorted({*now, *before}) if now.get(name) != before.get(name)
    }
    if not changed:
        return {}
    total = sum(len(name) + len(value or b"") for name, value in changed.items())
    if total > most:
        return {"xattrsSize": total}
    return {
        "xattrs": {
            readable(name): None if value is None else base64.b64encode(value).decode()
            for name, value in changed.items()
        }
    }


def same_status(one: os.stat_result, other: os.stat_result) -> bool:
    """Return whether mode, owner and time of change are the same."""
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("st_mode", "st_uid", "st_gid", "st_mtime_ns")
    )


def _time(nanoseconds: int) -> str:
    """Return RFC 3339 with nine digits; a time that no calendar has becomes its number."""
    seconds, rest = divmod(nanoseconds, 10**9)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
    except (ValueError, OverflowError, OSError):
        return f"@{seconds}.{rest:09d}"
