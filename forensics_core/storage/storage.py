"""Where evidence lies: one protocol in front of `s3://` and `file://`.

A storage creates objects and never overwrites one. An object exists for others only once it was
committed; leaving the block without a commit discards all of it::

    async with open_storage("s3://cases/2026") as storage:
        async with storage.create("containers/web/inspect.json") as writer:
            await writer.write(b"{}")
            stored = await writer.commit()
        async with aclosing(storage.read("containers/web/inspect.json")) as blocks:
            async for block in blocks: ...
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence, Set
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Protocol

from forensics_core.api.order import Encryption, Retention
from forensics_core.errors import ObjectNotFound, UsageError, VerificationError
from forensics_core.storage.budget import ByteBudget
from forensics_core.storage.local import LocalStorage
from forensics_core.storage.locate import S3Location, parse_location
from forensics_core.storage.objects import ClockSample, ObjectWriter, StoredObject
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.s3.storage import open_s3


class ReadableStorage(Protocol):
    """What a reader needs of a storage."""

    @property
    def url(self) -> str:
        """The storage's URL, ending in `/`."""
        ...

    def read(self, name: str, version_id: str | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of an object. Raises `ObjectNotFound`, or another `DestinationError`."""
        ...

    def read_range(
        self, name: str, start: int, length: int | None, version_id: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield `length` bytes from `start` on, fewer at the end; None: all that follow."""
        ...

    async def list(self, begin: str = "", *, only: Set[str] | None = None) -> list[StoredObject]:
        """Return everything in it whose name begins so, all versions, of each the oldest first.

        Where only some names matter, nothing else is held, and of each the `MAX_VERSIONS` oldest.
        Raises `AccessDenied` where the identity may not list, `TooManyObjects`.
        """
        ...


class Storage(ReadableStorage, Protocol):
    """A folder, or a bucket with a prefix."""

    @property
    def clock_samples(self) -> Sequence[ClockSample]:
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

    async def stat(self, name: str, version_id: str | None = None) -> StoredObject:
        """Return what is known of an object, without reading it. Raises `ObjectNotFound`."""
        ...


@asynccontextmanager
async def open_storage(
    location: str,
    *,
    access: S3Access | None = None,
    retention: Retention | None = None,
    encryption: Encryption | None = None,
    budget: ByteBudget | None = None,
) -> AsyncIterator[Storage]:
    """Open what lies at `location`: a folder's path or URL, or `s3://bucket/prefix`.

    `access`, `retention`, `encryption` and `budget` concern S3; a folder that is asked to lock or
    encrypt raises `UsageError`, because it cannot.
    """
    place = parse_location(location)
    if isinstance(place, S3Location):
        opening = open_s3(
            place,
            access or S3Access(),
            retention=retention,
            encryption=encryption,
            budget=budget,
        )
        async with opening as storage:
            yield storage
        return
    if retention or encryption:
        raise UsageError(
            f"{location} is a folder: it has neither Object Lock nor KMS",
            hint="Use an s3:// destination, or ask for neither",
        )
    yield LocalStorage(place)


open_destination = open_storage
"""The same by the name that it has in scripts that write."""


async def is_there(store: Storage, name: str) -> bool:
    """Return whether there is an object of that name. Raises any other `DestinationError`."""
    try:
        await store.stat(name)
    except ObjectNotFound:
        return False
    return True


async def read_small(
    store: ReadableStorage, name: str, version_id: str | None = None, *, limit: int
) -> bytes:
    """Return a whole object. Raises `VerificationError` if it has more than `limit` bytes."""
    data = bytearray()
    async with aclosing(store.read(name, version_id)) as blocks:
        async for block in blocks:
            data += block
            # As it arrives: the size that a store or a manifest tells is not to be relied on.
            if len(data) > limit:
                raise VerificationError(
                    f"{store.url}{name} has more than {limit} bytes, which no bundle of ours has",
                    hint="Treat it as tampered with",
                )
    return bytes(data)
