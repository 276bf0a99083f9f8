"""The `s3://` destination."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from forensics_core.api.order import Encryption, Retention
from forensics_core.errors import UsageError
from forensics_core.storage.budget import ByteBudget
from forensics_core.storage.destination import Answered, ObjectWriter, StoredObject
from forensics_core.storage.s3.attempts import Repeated, attempt_counted
from forensics_core.storage.s3.body import PartBody
from forensics_core.storage.s3.client import S3Access, from_environ, s3_client
from forensics_core.storage.s3.clock import ServiceClock
from forensics_core.storage.s3.failures import explain, status_of
from forensics_core.storage.s3.request import ObjectRequest
from forensics_core.storage.s3.traits import Traits, is_aws
from forensics_core.storage.s3.upload import put_once, upload, version_of

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_LOOK_PATIENCE = 10.0
"""Seconds: looking whether anybody is there must not take minutes."""
_REFUSALS = {400, 401, 403}
AWS_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""Names of buckets that AWS gives."""


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket, and a prefix without slashes around it."""

    bucket: str
    prefix: str = ""

    def key(self, name: str) -> str:
        """Return the key of `name` beneath the prefix."""
        return f"{self.prefix}/{name}" if self.prefix else name

    @property
    def url(self) -> str:
        """The place as `s3://bucket/prefix/`."""
        return f"s3://{self.bucket}/{self.key('')}"


def require_fit(place: S3Place, client: S3Client) -> None:
    """Raise `UsageError` for a bucket that AWS, where `client` leads, cannot have.

    MinIO takes names with `_`, others capitals; AWS has taken neither since 2018.
    """
    if is_aws(client.meta.endpoint_url) and not AWS_BUCKET.fullmatch(place.bucket):
        raise UsageError(
            f"AWS has no bucket that is called '{place.bucket}'",
            hint="If it is in another store, name that in AWS_ENDPOINT_URL, or as the "
            "destination's endpoint",
        )


@asynccontextmanager
async def open_s3(
    place: S3Place,
    access: S3Access,
    *,
    retention: Retention | None = None,
    encryption: Encryption | None = None,
    budget: ByteBudget | None = None,
) -> AsyncIterator[S3Destination]:
    """Open a destination in S3; `budget` is shared by all objects that are under way at once."""
    extra = object_parameters(retention, encryption)
    async with s3_client(access) as client:
        require_fit(place, client)
        clock = ServiceClock(client)
        yield S3Destination(client, place, access, extra, budget or ByteBudget(), clock)


class S3Destination:
    """A `Destination`; made by `open_s3`."""

    def __init__(
        self,
        client: S3Client,
        place: S3Place,
        access: S3Access,
        extra: dict[str, Any],
        budget: ByteBudget,
        clock: ServiceClock | None = None,
    ) -> None:
        self._client = client
        self._place = place
        self._access = from_environ(access)
        # The client's endpoint may come from a profile, which the settings do not show.
        self._traits = Traits.of(self._access, client.meta.endpoint_url)
        self._extra = extra
        self._budget = budget
        self._clock = clock
        owner = access.expected_bucket_owner
        self._owner = {"ExpectedBucketOwner": owner} if owner else {}

    @property
    def url(self) -> str:
        """The destination's URL, ending in `/`."""
        return self._place.url

    @property
    def store(self) -> dict[str, object]:
        """What the store has shown to be able to do: `Traits.shown`."""
        return self._traits.shown

    @property
    def answered(self) -> Sequence[Answered]:
        """The first and the last answer of the service, where its clock is listened to."""
        return self._clock.answered if self._clock else ()

    async def check(self) -> None:
        """Find out whether the service answers and the bucket exists.

        A refusal proves nothing: an identity that may only write is refused here by design, and
        the answer to a HEAD cannot say what else is wrong. The first object's answer does.
        """
        try:
            await attempt_counted(
                lambda: self._client.head_bucket(Bucket=self._place.bucket, **self._owner),
                replace(self._access, patience=_LOOK_PATIENCE, attempts=2),
            )
        except Repeated as failure:
            if status_of(failure.cause) not in _REFUSALS:
                raise explain(failure.cause, self.url) from failure.cause

    def create(
        self, name: str, *, content_type: str = "application/octet-stream"
    ) -> AbstractAsyncContextManager[ObjectWriter]:
        """Begin the object `name`; whether it exists shows at the commit."""
        request = self._request(name, content_type)
        return upload(self._client, self._access, self._budget, request, self._traits)

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
            answer = await attempt_counted(put, self._access, body=body)
        except Repeated as failure:
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


def object_parameters(retention: Retention | None, encryption: Encryption | None) -> dict[str, Any]:
    """Return the parameters of Create and Put that every object of a capture has."""
    extra: dict[str, Any] = {}
    if encryption:
        extra |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": encryption.kms_key_id}
    if retention and retention.days:
        extra["ObjectLockMode"] = retention.mode.upper()
        extra["ObjectLockRetainUntilDate"] = datetime.now(UTC) + timedelta(days=retention.days)
    if retention and retention.legal_hold:
        extra["ObjectLockLegalHoldStatus"] = "ON"
    return extra
