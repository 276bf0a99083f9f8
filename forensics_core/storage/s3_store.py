"""A bundle in a bucket, read by version, and taken up again in the middle when a connection breaks.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html
"""

from __future__ import annotations

import builtins
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Set
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from forensics_core.errors import DestinationError, ObjectNotFound, TooManyObjects
from forensics_core.storage.blocks import rechunk
from forensics_core.storage.budget import MIB
from forensics_core.storage.destination import StoredObject
from forensics_core.storage.s3.attempts import Repeated, attempt_counted
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.s3.destination import S3Place
from forensics_core.storage.s3.failures import code_of, explain, lacking, status_of
from forensics_core.storage.store import MAX_ENTRIES, MAX_VERSIONS, Entry, check_name

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_ABSENT = {"NoSuchKey", "NoSuchVersion", "MethodNotAllowed"}
"""The last one: the version is a delete marker."""
_BEYOND_THE_END = 416
"""The range begins where the object has ended: there is nothing, as in a folder."""
LOOK_PATIENCE, LOOK_ATTEMPTS = 10.0, 3
"""Seconds and tries for a listing, which is what readers ask for first: whoever named a place where
nobody answers wants to know it soon."""
_REFUSED, _WHOLE = 403, 200
_PACKED = {"gzip", "deflate", "br", "zstd"}
_NO_VERSIONS = {_REFUSED, 400, 405, 501}
"""Answers that mean: list what is current instead."""


class S3Store:
    """A `Store` beneath a bucket's prefix."""

    def __init__(self, client: S3Client, place: S3Place, access: S3Access) -> None:
        self._client = client
        self._place = place
        self._access = access
        self._looking = replace(
            access,
            patience=min(access.patience, LOOK_PATIENCE),
            attempts=min(access.attempts, LOOK_ATTEMPTS),
        )
        owner = access.expected_bucket_owner
        self._owner: dict[str, Any] = {"ExpectedBucketOwner": owner} if owner else {}

    @property
    def url(self) -> str:
        """The store's URL, ending in `/`."""
        return self._place.url

    def read(self, name: str, version_id: str | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the object's bytes, in that version or the current one."""
        return self.read_range(name, 0, None, version_id)

    async def read_range(
        self, name: str, start: int, length: int | None, version_id: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield a range of the object's bytes."""
        key = self._place.key(check_name(name))
        where = {"Bucket": self._place.bucket, "Key": key, **self._owner}
        if version_id:
            where["VersionId"] = version_id
        download = _Download(self._client, self.url + name, where, start, length)
        async with (
            aclosing(self._pieces(download, self.url + name)) as pieces,
            aclosing(rechunk(pieces, MIB)) as blocks,
        ):
            async for block in blocks:
                yield bytes(block)

    async def stat(self, name: str, version_id: str | None = None) -> StoredObject:
        """Return what S3 says of an object, without reading it. Raises `ObjectNotFound`."""
        key = self._place.key(check_name(name))
        where: dict[str, Any] = {"Bucket": self._place.bucket, "Key": key}
        if version_id:
            where["VersionId"] = version_id
        head = partial(self._client.head_object, ChecksumMode="ENABLED", **where, **self._owner)
        try:
            answer: Any = await attempt_counted(head, self._access)
        except Repeated as failure:
            raise _explain(failure.cause, self.url + name) from failure.cause
        if answer.get("ContentLength") is None:
            raise lacking(self.url + name, "Content-Length")
        return StoredObject(
            name,
            answer["ContentLength"],
            version_id=answer.get("VersionId"),
            crc64nvme=answer.get("ChecksumCRC64NVME"),
            etag=answer.get("ETag"),
        )

    async def _pieces(self, download: _Download, url: str) -> AsyncGenerator[bytes, None]:
        try:
            while piece := await attempt_counted(download.next, self._access):
                yield piece
        except Repeated as failure:
            if status_of(failure.cause) != _BEYOND_THE_END:
                raise _explain(failure.cause, url) from failure.cause
        finally:
            download.close()

    async def _current(
        self, begin: str, only: Set[str] | None, *, versions: bool
    ) -> builtins.list[Entry]:
        parse = partial(_objects, version_known=not versions)
        try:
            return await self._pages(self._client.list_objects_v2, parse, begin, only)
        except Repeated as failure:
            raise explain(failure.cause, self.url) from failure.cause

    async def _pages(
        self, call: Any, parse: Any, begin: str, only: Set[str] | None
    ) -> builtins.list[Entry]:
        found, seen = _Wanted(only), 0
        prefix = self._place.key("")
        where = {"Bucket": self._place.bucket, "Prefix": prefix + begin, **self._owner}
        following: dict[str, str] | None = {}
        while following is not None:
            asked = {**where, **following}
            answer = await attempt_counted(partial(call, **asked), self._looking)
            for entry in parse(answer, len(prefix)):
                seen += 1
                found.take(entry)
            if seen > MAX_ENTRIES:
                raise TooManyObjects(
                    f"{self.url} holds more than {MAX_ENTRIES} objects",
                    hint="Name a bundle's own prefix",
                )
            following = _following(answer)
            if following == {name: asked[name] for name in following or () if name in asked}:
                break  # a server that sends the same page for ever
        return found.entries()

    async def list(self, begin: str = "", *, only: Set[str] | None = None) -> builtins.list[Entry]:
        """Return all versions, or what is current where versions may not be listed."""
        try:
            entries = await self._pages(self._client.list_object_versions, _versions, begin, only)
            if not entries:
                # Some gateways answer like this whatever is there.
                entries = await self._current(begin, only, versions=False)
        except Repeated as failure:
            status = status_of(failure.cause)
            if status not in _NO_VERSIONS:
                raise explain(failure.cause, self.url) from failure.cause
            # Refused is not the same as not there: the bucket may well have versions.
            entries = await self._current(begin, only, versions=status == _REFUSED)
        # Each key's versions come newest first.
        entries.reverse()
        entries.sort(key=lambda entry: entry.name)
        return entries


class _Wanted:
    """The entries of a listing that are held; of those that matter no more than some versions.

    Whoever may add objects may add as many as they like: what nobody asked for takes no memory.
    """

    def __init__(self, only: Set[str] | None) -> None:
        self._only = only
        self._all: list[Entry] = []
        self._by_name: dict[str, deque[Entry]] = {}

    def take(self, entry: Entry) -> None:
        if not entry.name:
            return
        if self._only is None:
            self._all.append(entry)
        elif entry.name in self._only:
            # The newest come first: the oldest are those that stay.
            self._by_name.setdefault(entry.name, deque(maxlen=MAX_VERSIONS)).append(entry)

    def entries(self) -> list[Entry]:
        return [*self._all, *chain.from_iterable(self._by_name.values())]


class _Download:
    """One object on its way in: opened again where it broke off, in the same version."""

    def __init__(
        self, client: S3Client, url: str, where: dict[str, Any], start: int, length: int | None
    ) -> None:
        self._url = url
        self._client = client
        self._where = where
        self._position = start
        self._end = None if length is None else start + length
        self._body: Any = None
        self._sized = True
        """Whether the answer said how long it is; else it ends where it ends."""
        self._skip = 0
        """Bytes that come before what was asked for."""

    async def next(self) -> bytes:
        """Return what has arrived, or nothing at the end."""
        if self._position == self._end:
            return b""
        try:
            if self._body is None:
                await self._open()
            while self._skip:
                passed = await self._body.read(min(self._skip, MIB))
                if not passed and not self._sized:
                    return b""
                if not passed:
                    raise ConnectionResetError("the object broke off before its end")
                self._skip -= len(passed)
            wanted = MIB if self._end is None else min(MIB, self._end - self._position)
            piece: bytes = await self._body.read(wanted)
            if not piece and self._sized and self._position != self._end:
                raise ConnectionResetError("the object broke off before its end")
        except BaseException:
            self.close()
            raise
        self._position += len(piece)
        return piece

    async def _open(self) -> None:
        asked = dict(self._where)
        if self._position or self._end is not None:
            last = "" if self._end is None else self._end - 1
            asked["Range"] = f"bytes={self._position}-{last}"
        answer: Any = await self._client.get_object(**asked)
        self._body = answer["Body"]
        if answer.get("ContentEncoding") in _PACKED:
            # Nothing of ours is stored so: its digest would be that of other bytes.
            raise DestinationError(
                f"{self._url} came compressed, as the store does not have it",
                hint="A proxy in between compresses: name the store itself as the endpoint",
            )
        ignored = "Range" in asked and answer["ResponseMetadata"]["HTTPStatusCode"] == _WHOLE
        # Where the range was ignored, what was not asked for is passed over, to the right place.
        self._skip = self._position if ignored else 0
        length: int | None = answer.get("ContentLength")
        self._sized = length is not None
        if length is not None:
            told = length if ignored else self._position + length
            self._end = told if self._end is None or not ignored else min(self._end, told)
        # Whatever comes next must be of the very same object.
        if answer.get("ETag"):
            self._where["IfMatch"] = answer["ETag"]

    def close(self) -> None:
        """Let go of the connection."""
        if self._body is not None:
            self._body.close()
            self._body = None


def _versions(answer: Any, skip: int) -> Iterator[Entry]:
    """Yield the versions and delete markers of one page, of each key the newest first."""
    rows = [(row, False) for row in answer.get("Versions", ()) if row.get("Key")]
    rows += [(row, True) for row in answer.get("DeleteMarkers", ()) if row.get("Key")]
    rows.sort(key=lambda pair: str(pair[0].get("LastModified", "")), reverse=True)
    # Where two were stored in the same second, the one that is current is the newer.
    rows.sort(key=lambda pair: not pair[0].get("IsLatest", True))
    for row, deleted in rows:
        yield Entry(
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


def _objects(answer: Any, skip: int, *, version_known: bool) -> Iterator[Entry]:
    for row in answer.get("Contents", ()):
        if row.get("Key"):
            name, etag = row["Key"][skip:], row.get("ETag")
            yield Entry(name, row.get("Size", 0), etag=etag, version_known=version_known)


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


def _explain(error: BaseException, url: str) -> DestinationError:
    if code_of(error) in _ABSENT or (status_of(error) == 404 and code_of(error) != "NoSuchBucket"):
        return ObjectNotFound(f"{url} does not exist, or not in this version")
    if status_of(error) == 412:
        return DestinationError(f"{url} was replaced while it was read", hint="Read it again")
    return explain(error, url)
