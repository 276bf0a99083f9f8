"""What an object in storage is: its name, what is known of it, and how one is written.

Names may come from a hostile manifest or bucket: none of them leads out of the bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from forensics_core.errors import VerificationError

MAX_ENTRIES = 100_000
"""Objects that a listing holds at most; a bundle has hundreds."""
MAX_VERSIONS = 32
"""Versions of one object that are held where only some objects matter."""
MAX_NAME = 1024
"""Bytes of a name, in UTF-8: what an S3 key may have."""

Buffer = bytes | memoryview
"""A block of bytes on its way out. Whoever hands one over never changes it again."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What a storage says of a version of an object that it took, was asked for, or listed."""

    name: str
    """Relative to the storage, with `/` between its parts."""
    size: int
    """Bytes, as stored."""
    version_id: str | None = None
    """The S3 version; None where there are none."""
    crc64nvme: str | None = None
    """Base64 of the CRC-64/NVME over the whole object, big-endian, as S3 spells it; None where it
    was not told, as in a listing."""
    etag: str | None = None
    """S3's entity tag, which another content of the same name does not have."""
    latest: bool = True
    """Whether a reader who names no version gets this one."""
    deleted: bool = False
    """Whether this is a delete marker, which hides the versions below it."""
    version_known: bool = True
    """Whether the listing could say which version this is: an identity may list what is current,
    but not versions."""


@dataclass(frozen=True, slots=True)
class ClockSample:
    """When the destination's server answered, by its clock and by ours."""

    date: datetime
    """The server's `Date`, with whole seconds."""
    heard: datetime
    monotonic: float
    """When it was heard, by the event loop's clock."""


@dataclass(slots=True)
class Traffic:
    """What came from a store so far, without headers; one for all clients that are given it."""

    requests: int = 0
    """Those that were answered, refusals included."""
    size: int = 0
    """Bytes of objects and of other answers."""


class ObjectWriter(Protocol):
    """One object being written."""

    async def write(self, block: Buffer) -> None:
        """Append a block; waits while the destination is slower than the source."""
        ...

    async def commit(self) -> StoredObject:
        """Make the object whole and visible, or raise; nothing can be written after it."""
        ...


def check_name(name: str) -> str:
    """Return `name`. Raises `VerificationError` if it is no plain path beneath the bundle."""
    parts = name.split("/")
    try:
        fits = len(name.encode()) <= MAX_NAME
    except UnicodeEncodeError:
        fits = False
    if not fits or "\0" in name or any(part in {"", ".", ".."} for part in parts):
        raise VerificationError(
            f"The name {name[:100]!r} leads out of the bundle, or nowhere",
            hint="Treat the manifest as tampered with",
        )
    return name
