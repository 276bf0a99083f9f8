"""Where evidence goes: one small protocol in front of `s3://` and `file://`.

A destination creates objects and never overwrites one. An object exists for others only once it was
committed; leaving the block without a commit discards all of it::

    async with open_destination("s3://cases/2026") as destination:
        async with destination.create("containers/web/inspect.json") as writer:
            await writer.write(b"{}")
            stored = await writer.commit()
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

Buffer = bytes | memoryview
"""A block of bytes on its way out. Whoever hands one over never changes it again."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What the destination says of an object that it now holds."""

    name: str
    """Relative to the destination, with `/` between its parts."""
    size: int
    """Bytes, as stored."""
    version_id: str | None = None
    """The S3 version; None where the destination keeps none."""
    crc64nvme: str | None = None
    """Base64 of the CRC-64/NVME over the whole object, big-endian, as S3 spells it."""
    etag: str | None = None
    """S3's entity tag, which another content of the same name does not have."""


@dataclass(frozen=True, slots=True)
class Answered:
    """When the destination's server answered, by its clock and by ours."""

    date: datetime
    """The server's `Date`, with whole seconds."""
    heard: datetime
    monotonic: float
    """When it was heard, by the event loop's clock."""


class ObjectWriter(Protocol):
    """One object being written."""

    async def write(self, block: Buffer) -> None:
        """Append a block; waits while the destination is slower than the source."""
        ...

    async def commit(self) -> StoredObject:
        """Make the object whole and visible, or raise; nothing can be written after it."""
        ...


class Destination(Protocol):
    """A folder, or a bucket with a prefix."""

    @property
    def url(self) -> str:
        """The destination's URL, ending in `/`."""
        ...

    @property
    def answered(self) -> Sequence[Answered]:
        """The first and the last answer that had a date; nothing where there is no server."""
        ...

    async def check(self) -> None:
        """Find out early that nothing could be stored here.

        Raises a `DestinationError` that names the cause.
        """
        ...

    def create(
        self, name: str, *, content_type: str = "application/octet-stream"
    ) -> AbstractAsyncContextManager[ObjectWriter]:
        """Begin the object `name`. Raises `ObjectExists` now or at the commit if it is there."""
        ...
