"""One row of a file system's index, read back.

Rows come from the node, which may lie: each is checked before anybody relies on its types.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from forensics_core._internal import strict_json
from forensics_core._internal.flaws import Flaws

_BATCH = 1024 * 1024
"""Bytes of lines that are parsed at once: twice what a chunk of ours has."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the index says of one file, whatever its type."""

    path: bytes
    """In the container, absolute."""
    kind: str
    """`file`, `directory`, `symlink`, `hardlink`, `char`, `block`, `fifo`, `socket`, `other`."""
    mode: int
    uid: int
    gid: int
    size: int
    """Bytes of the content, holes included."""
    mtime: str
    """Seconds since 1970, in decimal; so are the others, which are empty where nobody knows."""
    atime: str
    ctime: str
    sha256: str
    """Of the content; empty where there is none, or too many holes to hash."""
    target: bytes
    """What a symbolic link says; the path of the file that a hard link is another name of."""
    data: int
    """Bytes before its data in the plain archive."""
    stored: int
    """Bytes of its data in the plain archive, a sparse file's map included."""
    sparse: bool
    stored_sha256: str
    """Of a sparse file's data in the archive."""
    truncated: bool
    """Whether the archive ends in the middle of it."""
    document: Mapping[str, Any]
    """All of it, as it is in the index."""
    archives: tuple[str, ...] = ()
    """What the archive that holds it can be called."""
    hidden: str = ""
    """Of a mount point: why what is mounted there is in no archive. The row is of what lies
    beneath, an empty placeholder as a rule."""

    @property
    def layer(self) -> str:
        """Which archive it is from: `rootfs`, `mounts`, `upper`, `deleted`; empty where unknown."""
        return self.archives[-1].removesuffix(".tar") if self.archives else ""

    @property
    def original(self) -> str:
        """What a deleted file was called; empty for all others."""
        told = self.document.get("deleted")
        path = told.get("originalPath") if isinstance(told, dict) else None
        path = path.get("text") if isinstance(path, dict) else path
        return path if isinstance(path, str) else ""

    @property
    def directory(self) -> bytes:
        """The path of the directory that it lies in; of `/`, itself."""
        return self.path[: self.path.rfind(b"/")] or b"/"


def read_rows(data: bytes, flaws: Flaws, archives: tuple[str, ...] = ()) -> Iterator[list[Row]]:
    """Yield the rows in a chunk of an index, some at a time; those that are none go to `flaws`.

    A row takes many times as much memory as its line: a large chunk is never parsed at once.
    """
    batch, size = list[Row](), 0
    for line in io.BytesIO(data):
        with flaws.passing():
            batch.append(_row(strict_json.loads_row(line), archives))
        size += len(line)
        if size > _BATCH:
            yield batch
            batch, size = [], 0
    yield batch


def _row(said: dict[str, Any], archives: tuple[str, ...]) -> Row:
    size = _natural(said["size"])
    return Row(
        path=_absolute(exact_bytes(said["path"])),
        kind=_text(said["type"]),
        mode=int(_text(said["mode"]), 8),
        uid=_whole(said["uid"]),
        gid=_whole(said["gid"]),
        size=size,
        mtime=_text(said["mtime"]),
        atime=_text(said["atime"]),
        ctime=_text(said["ctime"]),
        sha256=_text(said.get("sha256", "")),
        target=exact_bytes(said.get("target", "")),
        data=_natural(said.get("data", 0)),
        stored=_natural(said.get("stored", size)),
        sparse=said.get("sparse") is True,
        stored_sha256=_text(said.get("storedSha256", "")),
        truncated=said.get("truncated") is True,
        document=said,
        archives=archives,
    )


def exact_bytes(value: Any) -> bytes:
    """Return the bytes that a value of JSON spells. Raises `ValueError` and its like."""
    if isinstance(value, dict):
        return base64.b64decode(value["base64"], validate=True)
    return _text(value).encode()


def _absolute(path: bytes) -> bytes:
    if not path.startswith(b"/"):
        raise ValueError(f"{_cut(path)} is not an absolute path")
    return path


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{_cut(value)} is not text")
    return value


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{_cut(value)} is not a size")
    return value


def _whole(value: Any) -> int:
    if isinstance(value, str) and len(value) <= 20:
        return int(value)
    if type(value) is not int:
        raise ValueError(f"{_cut(value)} is not a whole number")
    return value


def _cut(value: Any) -> str:
    """Return a wrong value fit for a message; a whole row of it would not be."""
    return repr(value)[:100]
