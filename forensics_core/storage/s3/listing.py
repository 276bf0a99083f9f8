"""Listing what lies beneath a prefix: all versions where the store tells them.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Set
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from forensics_core.errors import TooManyObjects
from forensics_core.storage.locate import S3Location
from forensics_core.storage.objects import MAX_VERSIONS, StoredObject
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.s3.failures import explain, status_of
from forensics_core.storage.s3.retries import RequestFailed, with_retries

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

LISTING_TIMEOUT, LOOK_ATTEMPTS = 10.0, 3
"""Seconds and tries for a listing, which is what readers ask for first: whoever named a place where
nobody answers wants to know it soon."""
_REFUSED = 403
_NO_VERSIONS = {_REFUSED, 400, 405, 501}
"""Answers that mean: list what is current instead."""


class PrefixListing:
    """One look at what lies beneath a prefix."""

    def __init__(
        self, client: S3Client, place: S3Location, access: S3Access, owner: dict[str, Any]
    ) -> None:
        self._client = client
        self._place = place
        self._owner = owner
        self._access = replace(
            access,
            progress_timeout=min(access.progress_timeout, LISTING_TIMEOUT),
            attempts=min(access.attempts, LOOK_ATTEMPTS),
        )

    async def all(self, begin: str, only: Set[str] | None) -> list[StoredObject]:
        """Return all versions, or what is current where versions may not be listed."""
        try:
            entries = await self._pages(self._client.list_object_versions, _versions, begin, only)
            if not entries:
                # Some gateways answer like this whatever is there.
                entries = await self._current(begin, only, versions=False)
        except RequestFailed as failure:
            status = status_of(failure.cause)
            if status not in _NO_VERSIONS:
                raise explain(failure.cause, self._place.url) from failure.cause
            # Refused is not the same as not there: the bucket may well have versions.
            entries = await self._current(begin, only, versions=status == _REFUSED)
        # Each key's versions come newest first.
        entries.reverse()
        entries.sort(key=lambda entry: entry.name)
        return entries

    async def _current(
        self, begin: str, only: Set[str] | None, *, versions: bool
    ) -> list[StoredObject]:
        parse = partial(_objects, version_known=not versions)
        try:
            return await self._pages(self._client.list_objects_v2, parse, begin, only)
        except RequestFailed as failure:
            raise explain(failure.cause, self._place.url) from failure.cause

    async def _pages(
        self, call: Any, parse: Any, begin: str, only: Set[str] | None
    ) -> list[StoredObject]:
        found, seen = _HeldEntries(only), 0
        prefix = self._place.key("")
        where = {"Bucket": self._place.bucket, "Prefix": prefix + begin, **self._owner}
        following: dict[str, str] | None = {}
        while following is not None:
            asked = {**where, **following}
            answer = await with_retries(partial(call, **asked), self._access)
            for entry in parse(answer, len(prefix)):
                seen += 1
                found.take(entry)
            # Seen, not held: what nobody asked for takes no memory, but time without end.
            if seen > self._access.max_objects:
                raise TooManyObjects(
                    f"{self._place.url} holds more than {self._access.max_objects} objects",
                    hint="Name a bundle's own prefix",
                )
            following = _following(answer)
            if following == {name: asked[name] for name in following or () if name in asked}:
                break  # a server that sends the same page for ever
        return found.entries()


class _HeldEntries:
    """The entries of a listing that are held; of those that matter no more than some versions.

    Whoever may add objects may add as many as they like: what nobody asked for takes no memory.
    """

    def __init__(self, only: Set[str] | None) -> None:
        self._only = only
        self._all: list[StoredObject] = []
        self._by_name: dict[str, deque[StoredObject]] = {}

    def take(self, entry: StoredObject) -> None:
        if not entry.name:
            return
        if self._only is None:
            self._all.append(entry)
        elif entry.name in self._only:
            # The newest come first: the oldest are those that stay.
            self._by_name.setdefault(entry.name, deque(maxlen=MAX_VERSIONS)).append(entry)

    def entries(self) -> list[StoredObject]:
        return [*self._all, *chain.from_iterable(self._by_name.values())]


def _versions(answer: Any, skip: int) -> Iterator[StoredObject]:
    """Yield the versions and delete markers of one page, of each key the newest first."""
    rows = [(row, False) for row in answer.get("Versions", ()) if row.get("Key")]
    rows += [(row, True) for row in answer.get("DeleteMarkers", ()) if row.get("Key")]
    rows.sort(key=lambda pair: str(pair[0].get("LastModified", "")), reverse=True)
    # Where two were stored in the same second, the one that is current is the newer.
    rows.sort(key=lambda pair: not pair[0].get("IsLatest", True))
    for row, deleted in rows:
        yield StoredObject(
            name=row["Key"][skip:],
            size=row.get("Size", 0),
            version_id=_version_id(row),
            latest=row.get("IsLatest", True),
            deleted=deleted,
            etag=row.get("ETag"),
        )


def _version_id(row: Any) -> str | None:
    """Return a version's id; None where S3 calls it `null` and it is what a reader gets anyway.

    An object that is older than its bucket's versions keeps that name when others lie on top of it,
    and then has to be asked for by it.
    """
    version: str | None = row.get("VersionId") or None
    return None if version == "null" and row.get("IsLatest", True) else version


def _objects(answer: Any, skip: int, *, version_known: bool) -> Iterator[StoredObject]:
    for row in answer.get("Contents", ()):
        if row.get("Key"):
            name, etag = row["Key"][skip:], row.get("ETag")
            yield StoredObject(name, row.get("Size", 0), etag=etag, version_known=version_known)


def _following(answer: Any) -> dict[str, str] | None:
    """Return the parameters that lead to the next page; None after the last."""
    if not answer.get("IsTruncated"):
        return None
    if answer.get("NextContinuationToken"):
        return {"ContinuationToken": answer["NextContinuationToken"]}
    if answer.get("NextKeyMarker"):
        version = answer.get("NextVersionIdMarker", "")
        return {"KeyMarker": answer["NextKeyMarker"], "VersionIdMarker": version}
    # No marker, though there is more: the last one that was sent has to do.
    for rows, name in (("Versions", "KeyMarker"), ("Contents", "StartAfter")):
        if answer.get(rows) and answer[rows][-1].get("Key"):
            return {name: answer[rows][-1]["Key"]}
    return None
