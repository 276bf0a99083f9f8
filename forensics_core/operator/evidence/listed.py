"""A bundle that is listed once, for all who ask within one observation what lies in it."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace
from typing import TYPE_CHECKING

from forensics_core.bundle.layout import MANIFEST
from forensics_core.errors import (
    DestinationError,
    DestinationUnreachable,
    TooManyObjects,
)
from forensics_core.storage.locate import S3Location
from forensics_core.storage.objects import StoredObject
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.s3.listing import PrefixListing
from forensics_core.storage.s3.storage import S3Storage
from forensics_core.storage.storage import is_there

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

MAX_HELD = 1_000
"""Objects of a listing that are held: a page. Of a longer one each part is asked for on its own."""


class ListedBundle(S3Storage):
    """A bundle as it was when somebody first asked for a part of its listing.

    The manifest is stored last: a listing that has it has everything that it names. Make a new one
    for each observation.
    """

    def __init__(
        self, client: S3Client, place: S3Location, access: S3Access, *, held: int = MAX_HELD
    ) -> None:
        super().__init__(client, place, access)
        self._held = held
        self._entries: list[StoredObject] | None = None
        self._refused: DestinationError | None = None
        self._too_many = False

    async def list(self, begin: str = "", *, only: Set[str] | None = None) -> list[StoredObject]:
        """Return what the listing has that begins so. Raises what listing raised."""
        await self._list_once()
        if self._refused is not None:
            raise self._refused
        if self._entries is None:
            return await super().list(begin, only=only)
        return [
            entry
            for entry in self._entries
            if entry.name.startswith(begin) and (only is None or entry.name in only)
        ]

    async def has(self, name: str) -> bool:
        """Return whether there is an object of that name.

        A listing without the manifest, which was read, is behind: then the object is asked for.
        """
        there = {entry.name for entry in self._entries or () if entry.latest and not entry.deleted}
        return name in there if MANIFEST in there else await is_there(self, name)

    async def _list_once(self) -> None:
        if self._entries is not None or self._refused is not None or self._too_many:
            return
        most = min(self._held, self._access.max_objects)
        access = replace(self._access, max_objects=most)
        listing = PrefixListing(self._client, self._place, access, self._owner)
        try:
            self._entries = await listing.all("", None)
        except TooManyObjects:
            self._too_many = True
        except DestinationUnreachable:
            # That passes: whoever asks next asks anew.
            raise
        except DestinationError as error:
            self._refused = error
