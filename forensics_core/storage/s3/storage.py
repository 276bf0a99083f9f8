"""The `s3://` storage: objects are created once, read by version, and listed."""

from __future__ import annotations

import base64
import builtins
from collections.abc import AsyncGenerator, AsyncIterator, Sequence, Set
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from forensics_core.api.order import Encryption, Retention
from forensics_core.storage.blocks import rechunk
from forensics_core.storage.budget import MIB, ByteBudget
from forensics_core.storage.locate import S3Location
from forensics_core.storage.objects import ClockSample, ObjectWriter, StoredObject, check_name
from forensics_core.storage.s3.answers import ServiceClock
from forensics_core.storage.s3.client import S3Access, from_environ, s3_client
from forensics_core.storage.s3.download import Download, explain_reading
from forensics_core.storage.s3.failures import explain, incomplete_answer, status_of
from forensics_core.storage.s3.listing import PrefixListing
from forensics_core.storage.s3.parts import PartBody
from forensics_core.storage.s3.request import ObjectRequest, object_parameters, require_fit
from forensics_core.storage.s3.retries import RequestFailed, with_retries
from forensics_core.storage.s3.traits import Traits
from forensics_core.storage.s3.upload import S3Upload, put_once, upload, version_of

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_PROBE_TIMEOUT = 10.0
"""Seconds: looking whether anybody is there must not take minutes."""
_HALF = 0.5
_REFUSALS = {400, 401, 403}
_BEYOND_THE_END = 416
"""The range begins where the object has ended: there is nothing, as in a folder."""


@asynccontextmanager
async def open_s3(
    place: S3Location,
    access: S3Access,
    *,
    retention: Retention | None = None,
    encryption: Encryption | None = None,
    budget: ByteBudget | None = None,
) -> AsyncIterator[S3Storage]:
    """Open a destination in S3; `budget` is shared by all objects that are under way at once."""
    extra = object_parameters(retention, encryption)
    async with s3_client(access) as client:
        require_fit(place, client)
        clock = ServiceClock(client)
        yield S3Storage(client, place, access, extra=extra, budget=budget, clock=clock)


class S3Storage:
    """A `Storage` beneath a bucket's prefix; made by `open_s3`."""

    def __init__(
        self,
        client: S3Client,
        place: S3Location,
        access: S3Access,
        *,
        extra: dict[str, Any] | None = None,
        budget: ByteBudget | None = None,
        clock: ServiceClock | None = None,
    ) -> None:
        self._client = client
        self._place = place
        self._access = from_environ(access)
        # The client's endpoint may come from a profile, which the settings do not show.
        self._traits = Traits.of(self._access, client.meta.endpoint_url)
        self._extra = extra or {}
        self._budget = budget or ByteBudget()
        self._waits = 0
        self._clock = clock
        owner = access.expected_bucket_owner
        self._owner: dict[str, Any] = {"ExpectedBucketOwner": owner} if owner else {}

    @property
    def url(self) -> str:
        """The destination's URL, ending in `/`."""
        return self._place.url

    @property
    def store(self) -> dict[str, object]:
        """What the store has shown to be able to do: `Traits.shown`."""
        return self._traits.shown

    def fullness(self) -> float | None:
        """Return the share of the budget that waits for the network, from 0 to 1.

        It is 1 where somebody had to wait since this was asked last: with large parts the budget
        goes from full to half empty in one step. While it is half empty, and not one part has come
        back yet, nothing is known of the network: None.
        """
        waited = self._budget.waits > self._waits
        self._waits = self._budget.waits
        if waited:
            return 1.0
        share = min(self._budget.leaving / self._budget.total, 1.0)
        return share if self._budget.came_back or share > _HALF else None

    @property
    def clock_samples(self) -> Sequence[ClockSample]:
        """The first and the last answer of the service, where its clock is listened to."""
        return self._clock.clock_samples if self._clock else ()

    async def check(self) -> None:
        """Find out whether the service answers and the bucket exists.

        A refusal proves nothing: an identity that may only write is refused here by design, and
        the answer to a HEAD cannot say what else is wrong. The first object's answer does.
        """
        try:
            await with_retries(
                lambda: self._client.head_bucket(Bucket=self._place.bucket, **self._owner),
                replace(self._access, progress_timeout=_PROBE_TIMEOUT, attempts=2),
            )
        except RequestFailed as failure:
            if status_of(failure.cause) not in _REFUSALS:
                raise explain(failure.cause, self.url) from failure.cause

    def create(
        self, name: str, *, content_type: str = "application/octet-stream"
    ) -> AbstractAsyncContextManager[ObjectWriter]:
        """Begin the object `name`; whether it exists shows at the commit."""
        request = self._request(name, content_type)
        return upload(self._client, self._access, self._budget, request, self._traits)

    async def put(
        self, name: str, data: bytes, *, content_type: str = "application/octet-stream"
    ) -> StoredObject:
        """Store a small object whose bytes are at hand: what `create` does, for less CPU time.

        Raises `ObjectExists` if it is there.
        """
        request = self._request(name, content_type)
        writer = S3Upload(self._client, self._access, self._budget, request, self._traits)
        return await writer.put(data)

    async def probe(
        self, name: str, data: bytes, *, content_type: str = "application/octet-stream"
    ) -> StoredObject | None:
        """Store an object that is there once more, which has to be refused; None if it was.

        Some stores take the condition and ignore it. Then nothing is asked of it any more, and
        `store` says so: that no name is used twice has to do.
        """
        if not self._traits.conditional:
            return None
        body, request = PartBody([data]), self._request(name, content_type)
        crc = base64.b64encode(body.crc64().to_bytes(8, "big")).decode()

        async def put() -> Any:
            return await put_once(self._client, request, self._traits, body, crc)

        try:
            answer = await with_retries(put, self._access, body=body)
        except RequestFailed as failure:
            # Any answer but 412 says nothing of conditions, and the next object will meet it, too.
            self._traits.step_down(failure.cause, replace(self._traits), locking=request.locking)
            return None
        self._traits.conditional = False
        return StoredObject(name, len(data), version_id=version_of(answer))

    def _request(self, name: str, content_type: str) -> ObjectRequest:
        key = self._place.key(name)
        return ObjectRequest(
            name=name,
            url=f"s3://{self._place.bucket}/{key}",
            bucket=self._place.bucket,
            key=key,
            extra={"ContentType": content_type, **self._extra},
            owner=self._owner,
        )

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
        download = Download(self._client, self.url + name, where, start, length)
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
            answer: Any = await with_retries(head, self._access)
        except RequestFailed as failure:
            raise explain_reading(failure.cause, self.url + name) from failure.cause
        if answer.get("ContentLength") is None:
            raise incomplete_answer(self.url + name, "Content-Length")
        return StoredObject(
            name,
            answer["ContentLength"],
            version_id=answer.get("VersionId"),
            crc64nvme=answer.get("ChecksumCRC64NVME"),
            etag=answer.get("ETag"),
        )

    async def _pieces(self, download: Download, url: str) -> AsyncGenerator[bytes, None]:
        try:
            # Each piece with tries of its own: an hour's download may break off more often than any
            # one request may fail.
            while piece := await with_retries(download.next, self._access):
                if self._access.traffic:
                    self._access.traffic.size += len(piece)
                yield piece
        except RequestFailed as failure:
            if status_of(failure.cause) != _BEYOND_THE_END:
                raise explain_reading(failure.cause, url) from failure.cause
        finally:
            download.close()

    async def list(
        self, begin: str = "", *, only: Set[str] | None = None
    ) -> builtins.list[StoredObject]:
        """Return all versions, or what is current where versions may not be listed."""
        return await PrefixListing(self._client, self._place, self._access, self._owner).all(
            begin, only
        )
