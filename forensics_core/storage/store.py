"""Reading back: one small protocol in front of folders and buckets that hold evidence::

    async with open_store("s3://cases/forensics/20260801T101112Z_shop_web_4f2a-1") as store:
        async with aclosing(store.read("SHA256SUMS")) as blocks:
            async for block in blocks: ...

Names may come from a hostile manifest or bucket: none of them leads out of the bundle.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Set
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from forensics_core.errors import VerificationError
from forensics_core.storage.locate import parse_location
from forensics_core.storage.s3.client import S3Access, s3_client
from forensics_core.storage.s3.destination import S3Place

MAX_ENTRIES = 100_000
"""Entries that a listing holds at most; a bundle has hundreds."""
MAX_VERSIONS = 32
"""Versions of one object that are held where only some objects matter."""
MAX_NAME = 1024
"""Bytes of a name, in UTF-8: what an S3 key may have."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of one object in a store."""

    name: str
    """Relative to the bundle."""
    size: int
    """Bytes, as stored."""
    version_id: str | None = None
    """The S3 version; None where there are none."""
    latest: bool = True
    """Whether a reader who names no version gets this one."""
    deleted: bool = False
    """Whether this is a delete marker, which hides the versions below it."""
    etag: str | None = None
    """S3's entity tag."""
    version_known: bool = True
    """Whether the listing could say which version this is: an identity may list what is current,
    but not versions."""


class Store(Protocol):
    """A folder or a bucket's prefix, read only."""

    @property
    def url(self) -> str:
        """The store's URL, ending in `/`."""
        ...

    async def list(self, begin: str = "", *, only: Set[str] | None = None) -> list[Entry]:
        """Return everything in it whose name begins so, all versions, of each the oldest first.

        Where only some names matter, nothing else is held, and of each the `MAX_VERSIONS` oldest.
        Raises `AccessDenied` where the identity may not list, `TooManyObjects`.
        """
        ...

    def read(self, name: str, version_id: str | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of an object. Raises `ObjectNotFound`, or another `DestinationError`."""
        ...

    def read_range(
        self, name: str, start: int, length: int | None, version_id: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield `length` bytes from `start` on, fewer at the end; None: all that follow."""
        ...


@asynccontextmanager
async def open_store(location: str, *, access: S3Access | None = None) -> AsyncIterator[Store]:
    """Open what lies at `location`, a folder's path or URL, or `s3://bucket/prefix`."""
    from forensics_core.storage.folder_store import FolderStore
    from forensics_core.storage.s3.destination import require_fit
    from forensics_core.storage.s3_store import S3Store

    place = parse_location(location)
    if not isinstance(place, S3Place):
        yield FolderStore(place)
        return
    access = access or S3Access()
    async with s3_client(access) as client:
        require_fit(place, client)
        yield S3Store(client, place, access)


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


async def read_small(
    store: Store, name: str, version_id: str | None = None, *, limit: int
) -> bytes:
    """Return a whole object. Raises `VerificationError` if it has more than `limit` bytes."""
    data = bytearray()
    async with aclosing(store.read(name, version_id)) as blocks:
        async for block in blocks:
            data += block
            if len(data) > limit:
                raise VerificationError(
                    f"{store.url}{name} has more than {limit} bytes, which no bundle of ours has",
                    hint="Treat it as tampered with",
                )
    return bytes(data)
